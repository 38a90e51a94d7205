#!/usr/bin/env python3
"""beat.py BUCKET COUNT RATE MIB NAME: how long objects need from one store to another.

Writes so many objects to BUCKET at URL_A, at a fixed rate, and asks the bucket of that name at URL_B for each,
every 2 ms, from when the source has answered the write until it is there with the ETag of the source.
Prints one number a line, in milliseconds; fails where an object does not come within a minute.
"""

import concurrent.futures
import http.client
import os
import queue
import sys
import time
import urllib.parse

sys.path.insert(0, os.path.dirname(__file__))
from s3 import ask

BUCKET, COUNT, RATE, SIZE = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(float(sys.argv[4]) * (1 << 20))
NAME = sys.argv[5]
SOURCE, TARGET = (os.environ["URL_A"], BUCKET), (os.environ["URL_B"], BUCKET)
PATIENCE, PAUSE = 60, 0.002
lines = {SOURCE: queue.SimpleQueue(), TARGET: queue.SimpleQueue()}


def over(place):
    """A connection that is open, if one is free."""
    try:
        return lines[place].get_nowait()
    except queue.Empty:
        return http.client.HTTPConnection(urllib.parse.urlsplit(place[0]).netloc)


def one(number):
    key, line = f"{NAME}/{number:06}", over(SOURCE)
    body = number.to_bytes(8, "big") * (SIZE // 8)
    status, headers, text = ask(SOURCE, "PUT", key, body=body, line=line, digest="UNSIGNED-PAYLOAD")
    assert status == 200, (key, status, text)
    written = time.monotonic()
    lines[SOURCE].put(line)
    line = over(TARGET)
    while True:
        status, found, _ = ask(TARGET, "HEAD", key, line=line)
        now = time.monotonic()
        if status == 200 and found["etag"] == headers["etag"]:
            lines[TARGET].put(line)
            return (now - written) * 1000
        assert status in (200, 404) and now - written < PATIENCE, (key, status)
        time.sleep(PAUSE)


with concurrent.futures.ThreadPoolExecutor(64) as pool:
    start, under_way = time.monotonic(), []
    for number in range(COUNT):
        time.sleep(max(0.0, start + number / RATE - time.monotonic()))
        under_way.append(pool.submit(one, number))
    for done in under_way:
        print(f"{done.result():.2f}")
