"""Requests to S3 with our own signatures: nothing but Python's standard library, and nothing of Farshore.

Keys come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
"""

import datetime
import hashlib
import hmac
import http.client
import os
import urllib.parse

ID, SECRET = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]


def signed(place, method, key, query, headers, digest):
    """Path with query, and headers, of a request to a place: an endpoint's URL and a bucket."""
    url, bucket = place
    path = "/" + bucket + "/" + urllib.parse.quote(key, safe="/-._~")
    query = "&".join(f"{name}={urllib.parse.quote(value, safe='-._~')}" for name, value in sorted(query.items()))
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    sent = {"host": urllib.parse.urlsplit(url).netloc, "x-amz-date": now, "x-amz-content-sha256": digest}
    sent.update({name.lower(): value for name, value in headers.items()})
    names = ";".join(sorted(sent))
    canonical = "".join(f"{name}:{' '.join(sent[name].split())}\n" for name in sorted(sent))
    canonical = f"{method}\n{path}\n{query}\n{canonical}\n{names}\n{digest}"
    scope = f"{now[:8]}/us-east-1/s3/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key_bytes = ("AWS4" + SECRET).encode()
    for word in (now[:8], "us-east-1", "s3", "aws4_request"):
        key_bytes = hmac.new(key_bytes, word.encode(), hashlib.sha256).digest()
    signature = hmac.new(key_bytes, to_sign.encode(), hashlib.sha256).hexdigest()
    sent["authorization"] = f"AWS4-HMAC-SHA256 Credential={ID}/{scope}, SignedHeaders={names}, Signature={signature}"
    return path + ("?" + query if query else ""), {name: value.encode() for name, value in sent.items()}


def ask(place, method, key, query=None, headers=None, body=b"", line=None, digest=None):
    """One request, over `line` if there is one: status, headers and body of the answer."""
    digest = digest or hashlib.sha256(body).hexdigest()
    path, sent = signed(place, method, key, query or {}, headers or {}, digest)
    line = line or http.client.HTTPConnection(urllib.parse.urlsplit(place[0]).netloc)
    line.request(method, path, body, sent)
    answer = line.getresponse()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
