#!/usr/bin/env python3
"""Fills a bucket with the objects that copying tools trip over.

    fill.py s3://bucket URL [--locks | --acl]

Prints the keys that the store has refused, with its words, as JSON. Keys as for tests/compare.py.
"""

import argparse
import datetime
import json
import pathlib
import random
import sys

from botocore.exceptions import ClientError

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
from compare import LOCK, client, place, write  # noqa: E402

MIB = 1 << 20

NAMES = [
    "plain",
    # Segments that paths are made of.
    ".",
    "..",
    "./dot",
    "../up",
    "a/./b",
    "a/../b",
    "a/.",
    "a/..",
    "a/...",
    "...",
    "a//b",
    "a///c",
    "//",
    "/",
    "/leading",
    "//leading-twice",
    "folder/",
    "folder/inside",
    "trailing-dot.",
    "file",
    "file/below",
    # As long as a key may be: in pieces that file systems take, and in one that they don't.
    "/".join(["s" * 127] * 8) + "/",
    "p/" + "/".join(["q" * 145] * 7) + "end",
    "l" * 1024,
    "/".join(["\U0001f980" * 31] * 8) + "/" + "e" * 24,
    "\U0001f980" * 256,
    # What is escaped in addresses, in XML, or both.
    "plus+and space",
    " leading-and-trailing ",
    "a%b",
    "a%20b",
    "a%2Fb",
    "%",
    "100%25",
    "q?x=1&y=2#z",
    "<&>\"'",
    "]]>",
    "&amp;&#1;",
    "back\\slash",
    "semi;colon:at@dollar$comma,",
    "(paren)[bracket]{brace}|`^~!*'",
    "a=b",
    # Characters that look alike, or that XML can't hold.
    "\u00e9",
    "e\u0301",
    "\u4e16\u754c/\U0001f40b",
    "\U0001f469\u200d\U0001f680",
    "\u202egpj.exe",
    "\u2028line",
    "\ufeffmark",
    "\ufffd",
    "tab\there",
    "line\nbreak",
    "return\rhere",
    "bell\x07",
    "one\x01",
    "escape\x1b[31m",
    "delete\x7f",
    "next\x85line",
    "nul\x00",
    "last\uffff",
    # The order of bytes is neither that of letters nor that of UTF-16.
    "Z",
    "_",
    "z-",
    "z/",
    "z/z",
    "z0",
    "\uff5e",
    "\U00010000",
]

HEADERS = {
    "content-type": "text/html; charset=\"utf-8\"",
    "content-encoding": "gzip",
    "content-language": "de-CH, en",
    "content-disposition": "attachment; filename=\"a \\\"b\\\".txt\"; filename*=UTF-8''%e2%82%ac",
    "cache-control": "max-age=60, no-transform",
    "expires": "Wed, 21 Oct 2026 07:28:00 GMT",
}

METADATA = {
    "ascii": "plain text",
    "comma": "a,b, c",
    "equals": "=?not a word",
    "dash-and_underscore.dot": "1",
    "number": "007",
    "percent": "%C3%A4 100%",
}

TAGS = {f"tag {n}": value for n, value in enumerate(["", "a b", "a+b=c/d:e@f_g.h-i", " 1 ", "x" * 256])}


def noise(size, seed):
    return random.Random(seed).randbytes(size)


def zoo(locks):
    """Key, attributes, content."""
    for number, key in enumerate(NAMES):
        seen = {"content-type": "text/x-zoo", "metadata": {"number": str(number)}}
        yield key, seen, noise(number * 7, number)
    yield "empty", {}, b""
    yield "empty-with-all", HEADERS | {"metadata": METADATA, "tags": TAGS}, b""
    for name, value in HEADERS.items():
        yield f"header/{name}", {name: value}, noise(10, name)
    yield "header/all", dict(HEADERS), noise(10, "all")
    yield "header/no-date", {"expires": "0"}, noise(10, "0")
    yield "header/utf8", {"content-disposition": "attachment; filename=\u00e4\u4e16.txt"}, noise(10, "u")
    yield "header/two-encodings", {"content-encoding": "br, gzip"}, noise(10, "two")
    metadata = {
        "ascii": METADATA,
        "word-b": {"word": "=?UTF-8?B?R3LDvMOfZQ==?="},
        "word-q": {"word": "=?UTF-8?Q?Gr=C3=BC=C3=9Fe?="},
        "words": {"word": "=?UTF-8?B?w6Q=?= =?UTF-8?B?w7Y=?=", "half": "x =?UTF-8?B?w6Q=?= y"},
        "raw": {"raw": "Gr\u00fc\u00dfe, \u4e16\u754c \U0001f980"},
        "raw-and-word": {"raw": "\u00e4", "word": "=?UTF-8?B?w6Q=?="},
        "empty": {"empty": "", "full": "1"},
        "long": {"long": "x" * 1900},
        "many": {f"n{n:03}": str(n) for n in range(100)},
    }
    for name, pairs in metadata.items():
        yield f"metadata/{name}", {"metadata": pairs}, noise(10, name)
    yield "tags/some", {"tags": TAGS}, noise(10, "some")
    yield "tags/ten", {"tags": {f"k{n}": f"v{n}" for n in range(10)}}, noise(10, "ten")
    yield "tags/beyond-ascii", {"tags": {"\u00e4": "\u4e16"}}, noise(10, "beyond")
    yield "tags/longest", {"tags": {"k" * 128: "v" * 256}}, noise(10, "longest")
    yield "large/one-piece", HEADERS | {"tags": TAGS}, noise(9 * MIB + 1, "large")
    layouts = {
        "one": [7],
        "one-large": [6 * MIB],
        "odd": [5 * MIB, 5 * MIB + 1, 6 * MIB, 11],
        "uneven": [8 * MIB, 5 * MIB, 7 * MIB + 3],
    }
    for name, parts in layouts.items():
        more = {"metadata": METADATA | {"raw": "\u00e4"}, "tags": TAGS} if name == "odd" else {}
        yield f"parts/{name}", HEADERS | more | {"parts": parts, "etag": "-"}, noise(sum(parts), name)
    if locks:
        yield from locked()


def locked():
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    until = until.strftime("%Y-%m-%dT%H:%M:%S")
    locks = {
        "governance": ("GOVERNANCE", until, None),
        "compliance": ("COMPLIANCE", until, None),
        "hold": (None, None, "ON"),
        "both": ("GOVERNANCE", until, "ON"),
    }
    for name, lock in locks.items():
        assert len(lock) == len(LOCK)
        yield f"lock/{name}", {"lock": lock, "tags": TAGS}, noise(10, name)
    yield "lock/large", {"lock": locks["both"]}, noise(9 * MIB, "lock")
    yield "lock/parts", {"lock": locks["both"], "parts": [5 * MIB, 7], "etag": "-"}, noise(5 * MIB + 7, "lock")


ANN, BOB, ALL = "a" * 64, "b" * 64, "http://acs.amazonaws.com/groups/global/AllUsers"


def shared(owner):
    """Objects that others may do something with. moto keeps one grantee a permission."""
    lists = {
        "private": [],
        "public": [(owner, "FULL_CONTROL"), (ALL, "READ")],
        "ann": [(owner, "FULL_CONTROL"), (ANN, "READ")],
        "all-of-them": [(owner, "FULL_CONTROL"), (ANN, "READ"), (ALL, "READ_ACP"), (BOB, "WRITE_ACP")],
    }
    for name, acl in lists.items():
        yield f"acl/{name}", {"acl": acl}, noise(10, name)
        yield f"large-acl/{name}", {"acl": acl}, noise(9 * MIB, name)


def main():
    summary, _, _ = __doc__.partition("\n")
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("bucket")
    parser.add_argument("endpoint")
    parser.add_argument("--locks", action="store_true")
    parser.add_argument("--acl", action="store_true")
    options = parser.parse_args()
    s3, (bucket, _) = client(options.endpoint, "SOURCE_"), place(options.bucket)
    stored, refused = 0, {}
    objects = zoo(options.locks)
    if options.acl:
        s3.put_object(Bucket=bucket, Key="acl/private", Body=b"")
        objects = shared(s3.get_object_acl(Bucket=bucket, Key="acl/private")["Owner"]["ID"])
    for key, seen, body in objects:
        try:
            write(s3, bucket, key, seen, body)
            stored += 1
        except ClientError as error:
            refused[key] = error.response["Error"]["Code"]
    json.dump({"stored": stored, "refused": refused}, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
