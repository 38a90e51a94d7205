"""A stand-in for mongod: SecantusDB behind mongod's arguments, with the parts of a replica set that it lacks.

It does what mongod's documentation and source say of: arguments, key files, a set that is initiated only by a
member that finds itself in it, writes before that, a member that no longer finds itself, shutdown, and a log
that is JSON on the standard output. STAND_IN_HOSTS has the names that the pod's hosts file would have for it.
"""

import argparse
import json
import os
import stat
import sys
import threading
import time

from secantus import commands
from secantus.server import SecantusDBServer

LOOPBACK = "127.0.0.1"
WRITES = [
    "insert", "update", "delete", "create", "createIndexes", "createUser", "drop", "dropDatabase", "renameCollection",
    "collMod", "dropIndexes", "findAndModify",
]


class Parser(argparse.ArgumentParser):
    def error(self, message):
        print(f"Error parsing command line: {message}", file=sys.stderr)
        sys.exit(2)


def log(severity, number, message, **attributes):
    now = {"$date": time.strftime("%Y-%m-%dT%H:%M:%S.000+00:00", time.gmtime())}
    line = {"t": now, "s": severity, "c": "CONTROL", "id": number, "ctx": "main", "msg": message, "attr": attributes}
    print(json.dumps(line), flush=True)


def fatal(number, message, **attributes):
    log("E", number, message, **attributes)
    for _ in range(20):
        log("I", 4784900, "Stepping down the ReplicationCoordinator for shutdown")
    sys.exit(1)


def arguments():
    parser = Parser(allow_abbrev=False)
    for name in ["dbpath", "replSet", "bind_ip", "unixSocketPrefix", "keyFile", "wiredTigerCacheSizeGB"]:
        parser.add_argument(f"--{name}")
    parser.add_argument("--port", type=int, default=27017)
    parser.add_argument("--setParameter", action="append", default=[])
    parser.add_argument("--bind_ip_all", action="store_true")
    parser.add_argument("--auth", action="store_true")
    return parser.parse_args()


def check(given):
    if given.auth and given.replSet and not given.keyFile:
        print("BadValue: security.keyFile is required when authorization is enabled with replica sets", file=sys.stderr)
        sys.exit(2)
    if not os.path.isdir(given.dbpath):
        fatal(20574, "Error during global initialization", error=f"Data directory {given.dbpath} not found")
    if given.keyFile:
        if stat.S_IMODE(os.stat(given.keyFile).st_mode) & 0o077:
            fatal(20255, "Error creating service context", error=f"permissions on {given.keyFile} are too open")
        key = open(given.keyFile).read().strip()
        if not 6 <= len(key) <= 1024 or not all(c.isalnum() or c in "+/=" for c in key):
            fatal(20255, "Error creating service context", error="the key file's content is wrong")


class ReplicaSet:
    def __init__(self, given):
        self.given = given
        self.file = os.path.join(given.dbpath, "stand-in.replset.json")
        self.configuration = None
        if os.path.exists(self.file):
            self.configuration = json.load(open(self.file))

    def is_self(self, address):
        """mongod compares the addresses that a name has with those that it listens at."""
        host, port = address.rsplit(":", 1)
        known = host in ["localhost", *os.environ.get("STAND_IN_HOSTS", "").split()]
        mine = self.given.bind_ip_all or LOOPBACK in (self.given.bind_ip or "localhost").split(",")
        return int(port) == self.given.port and known and mine

    def finds_itself(self, configuration):
        return any(self.is_self(member["host"]) for member in configuration["members"])

    def is_primary(self):
        if not self.given.replSet:
            return True
        return self.configuration is not None and self.finds_itself(self.configuration)

    def initiate(self, command, _context):
        if not self.given.replSet:
            return failure(76, "NoReplicationEnabled", "not running with --replSet")
        if self.configuration:
            return failure(23, "AlreadyInitialized", "already initialized")
        configuration = command["replSetInitiate"]
        if configuration["_id"] != self.given.replSet:
            return failure(93, "InvalidReplicaSetConfig", "the set has another name")
        if not self.finds_itself(configuration):
            message = "No host described in new configuration with {version: 1, term: 0} for replica set "
            return failure(74, "NodeNotFound", f"{message}{configuration['_id']} maps to this node")
        with open(self.file, "w") as file:
            json.dump(configuration, file)
        self.configuration = configuration
        return {"ok": 1.0}


def failure(code, name, message):
    return {"ok": 0.0, "code": code, "codeName": name, "errmsg": message}


def install(replica_set, stop):
    handlers = commands._HANDLERS
    hello = handlers["hello"]

    def greeting(command, context):
        reply = hello(command, context)
        if reply.get("ok") == 1.0 and not replica_set.is_primary():
            for name in ["setName", "setVersion", "hosts", "passives", "arbiters", "primary", "me", "electionId"]:
                reply.pop(name, None)
            reply.update(isWritablePrimary=False, ismaster=False, secondary=False, isreplicaset=True)
        return reply

    def guarded(handler):
        def write(command, context):
            if not replica_set.is_primary():
                return failure(10107, "NotWritablePrimary", "not primary")
            return handler(command, context)

        return write

    def shutdown(_command, context):
        if context.db_name != "admin":
            return failure(13, "Unauthorized", "shutdown may only be run against the admin database.")
        threading.Thread(target=stop).start()
        # The connection ends without an answer.
        time.sleep(60)
        return {"ok": 1.0}

    for name in WRITES:
        handlers[name] = guarded(handlers[name])
    for name in ["hello", "isMaster", "ismaster"]:
        handlers[name] = greeting
    handlers["replSetInitiate"] = replica_set.initiate
    handlers["shutdown"] = shutdown


def main():
    given = arguments()
    log("I", 4615611, "MongoDB starting")
    check(given)
    server = SecantusDBServer(
        host="0.0.0.0" if given.bind_ip_all else LOOPBACK,
        port=given.port,
        storage_path=os.path.join(given.dbpath, "data"),
        require_auth=given.auth,
        replica_set_name=given.replSet,
    )

    def stop():
        watchdog = threading.Timer(10, lambda: os._exit(0))
        watchdog.daemon = True
        watchdog.start()
        server.stop()
        log("I", 23138, "Shutting down", exitCode=0)
        os._exit(0)

    install(ReplicaSet(given), stop)
    server.start()
    log("I", 23016, "Waiting for connections", port=given.port)
    server.wait()
    # Whoever told it to shut down ends it.
    time.sleep(60)


main()
