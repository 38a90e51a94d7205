#!/usr/bin/env python3
"""api.py CERTIFICATE KEY PORT < RULE: as much of an API server as a worker needs, with one resource.

It is read, listed and watched; a patch of its status replaces the status, whoever applies it.
"""

import http.server
import json
import queue
import ssl
import sys
import threading

rule = json.load(sys.stdin)
rule["metadata"]["resourceVersion"] = "1"
lock, watchers = threading.Lock(), []


class Api(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        path, _, query = self.path.partition("?")
        if path.endswith("/bucketreplicationrules/" + rule["metadata"]["name"]):
            return self.answer(200, rule)
        if not path.endswith("/bucketreplicationrules"):
            return self.answer(404, {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404})
        if "watch=true" in query:
            return self.watch()
        version = rule["metadata"]["resourceVersion"]
        kind = {"apiVersion": rule["apiVersion"], "kind": rule["kind"] + "List"}
        return self.answer(200, kind | {"metadata": {"resourceVersion": version}, "items": [rule]})

    def watch(self):
        mine = queue.SimpleQueue()
        with lock:
            watchers.append(mine)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while True:
            try:
                event = json.dumps(mine.get(timeout=280)).encode() + b"\n"
            except queue.Empty:
                return self.wfile.write(b"0\r\n\r\n")
            self.wfile.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")

    def do_PATCH(self):
        patch = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with lock:
            rule["status"] = patch["status"]
            rule["metadata"]["resourceVersion"] = str(int(rule["metadata"]["resourceVersion"]) + 1)
            for watcher in watchers:
                watcher.put({"type": "MODIFIED", "object": json.loads(json.dumps(rule))})
        self.answer(200, rule)


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[3])), Api)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
