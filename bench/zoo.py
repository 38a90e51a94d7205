#!/usr/bin/env python3
"""bench/zoo.py seed | score: objects of awkward names and full attributes, and how much of them a copy kept.

Independent of Farshore: only Python's standard library and its own signatures. Buckets `source` and `target`
at URL_A and URL_B, keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. `score` prints `equal of all`, and
what is not equal on standard error.
"""

import hashlib
import os
import sys
import xml.etree.ElementTree

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "lib"))
from s3 import ask

SOURCE, TARGET = (os.environ["URL_A"], "source"), (os.environ["URL_B"], "target")
MIB = 1 << 20


def animals():
    """Key, headers, and the parts that the content comes in."""
    plain = {"content-type": "text/plain; charset=utf-8"}
    yield "plain.txt", plain, [b"plain"]
    yield "no-type", {"content-type": "application/x-own"}, [b"content"]
    yield "wrong-type.json", {"content-type": "image/png"}, [b"{}"]
    yield "headers", plain | {
        "cache-control": "max-age=60, private", "content-disposition": 'attachment; filename="a b.txt"',
        "content-encoding": "gzip", "content-language": "de-CH", "expires": "Wed, 21 Oct 2026 07:28:00 GMT",
    }, [b"headers"]
    yield "meta", plain | {"x-amz-meta-owner": "orders", "x-amz-meta-with-space": "a b  c"}, [b"meta"]
    yield "meta-mtime", plain | {"x-amz-meta-mtime": "1700000000.5"}, [b"meta"]
    yield "meta-utf8", plain | {"x-amz-meta-name": "=?UTF-8?B?w6TDtsO8?="}, [b"meta"]
    yield "tags", plain | {"x-amz-tagging": "class=gold&a%20b=c%2Bd"}, [b"tags"]
    yield "empty", plain, [b""]
    for name in ("a//b", "with space", "plus+plus", "100%25 %2F", "emoji/🦀", "ünïcode", "u\u0308nnormal", "q?x=1&y#z",
                 "semi;colon", "quote'\"", "dir/", "deep/" * 40 + "end", "long/" + "n" * 200):
        yield name, plain, [name.encode()]
    parts = [bytes([65 + n]) * size for n, size in enumerate((6 * MIB, 5 * MIB, 7 * MIB, 100))]
    yield "parts-odd", plain | {"x-amz-meta-kind": "parts", "x-amz-tagging": "kind=parts"}, parts
    yield "parts-alike", plain, [bytes([97 + n]) * (5 * MIB) for n in range(3)]
    yield "part-single", plain, [b"z" * MIB]
    yield "one-piece", plain, [b"y" * (9 * MIB)]


def seed():
    for key, headers, parts in animals():
        if len(parts) == 1 and key != "part-single":
            status, _, text = ask(SOURCE, "PUT", key, headers=headers, body=parts[0])
            # A name that the source can't hold (MinIO: `a//b`) is no task for a copy.
            assert status == 200 or b"InvalidObjectName" in text, (key, status, text)
            continue
        _, _, text = ask(SOURCE, "POST", key, {"uploads": ""}, headers)
        upload = next(e.text for e in xml.etree.ElementTree.fromstring(text).iter() if e.tag.endswith("UploadId"))
        tags = []
        for number, part in enumerate(parts, 1):
            _, answer, _ = ask(SOURCE, "PUT", key, {"partNumber": str(number), "uploadId": upload}, body=part)
            tags.append(f"<Part><PartNumber>{number}</PartNumber><ETag>{answer['etag']}</ETag></Part>")
        body = f"<CompleteMultipartUpload>{''.join(tags)}</CompleteMultipartUpload>".encode()
        status, _, text = ask(SOURCE, "POST", key, {"uploadId": upload}, body=body)
        assert status == 200, (key, status, text)


COMPARED = ("content-length", "content-type", "cache-control", "content-disposition", "content-encoding",
            "content-language", "expires", "etag")


def seen(place, key):
    """Every attribute that the object has, by name."""
    status, headers, body = ask(place, "GET", key)
    if status != 200:
        return {}
    found = {name: headers[name] for name in COMPARED if name in headers}
    found |= {name: value for name, value in headers.items() if name.startswith("x-amz-meta-")}
    found["content"] = hashlib.sha256(body).hexdigest()
    _, _, text = ask(place, "GET", key, {"tagging": ""})
    words = [e.text or "" for e in xml.etree.ElementTree.fromstring(text).iter() if e.tag.split("}")[-1] in ("Key", "Value")]
    found |= {f"tag {name}": value for name, value in zip(words[::2], words[1::2])}
    return found


def score():
    equal = total = 0
    for key, _, _ in animals():
        ours, theirs = seen(SOURCE, key), seen(TARGET, key)
        for name in sorted(set(ours) | set(theirs)):
            total += 1
            if ours.get(name) == theirs.get(name):
                equal += 1
            else:
                print(f"{key!r}: {name} {ours.get(name)!r} became {theirs.get(name)!r}", file=sys.stderr)
    print(f"{equal} of {total}")


if __name__ == "__main__":
    {"seed": seed, "score": score}[sys.argv[1]]()
