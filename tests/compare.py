#!/usr/bin/env python3
"""Compares the objects of two buckets field by field, with another client than ours.

    compare.py s3://bucket/prefix s3://bucket/prefix --source-endpoint URL --target-endpoint URL
               [--told FILE] [--modified] [--acl FILE]

Keys come from SOURCE_AWS_ACCESS_KEY_ID and so on, as for `farshore copy`. Whatever differs is tried by hand:
boto3 writes the same object with the same attributes into a bucket of its own beside the target. What that store
gives back otherwise there, too, it can't hold; any other difference is a fault of the copy. `--told` is the JSON that
`farshore copy --json` printed: what the target can't hold must be named in it. `--modified` also compares the times of
the last write, with MinIO's replication headers as the hand; `--acl` also compares grants, with the table of
accounts (a JSON object) that the copy was given.

Prints a table, and exits with 0 only if nothing but what can't be held differs. Reads objects whole, into memory.
"""

import argparse
import base64
import hashlib
import http.client
import json
import os
import sys
import uuid
from collections import Counter
from email.header import decode_header

import boto3
from botocore.client import Config
from botocore.exceptions import ClientError
from botocore.handlers import validate_ascii_metadata

CONTENT_HEADERS = [
    "content-type",
    "content-encoding",
    "content-language",
    "content-disposition",
    "cache-control",
    "expires",
]
METADATA = "x-amz-meta-"
LOCK = ["x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date", "x-amz-object-lock-legal-hold"]
GRANTS = {"READ": "read", "READ_ACP": "read-acp", "WRITE_ACP": "write-acp", "FULL_CONTROL": "full-control"}
RETRIES = {"max_attempts": 3}
# An object may have 2 KiB of metadata, in as many headers as fit.
http.client._MAXHEADERS = 2000


# ---- a client that adds nothing and hides nothing ---------------------------------------------------


def client(endpoint, side=""):
    """A client for one endpoint, with a side's own keys or the usual ones."""

    def key(name):
        return os.environ.get(f"{side}AWS_{name}") or os.environ.get(f"AWS_{name}")

    config = Config(
        s3={"addressing_style": "path"},
        retries=RETRIES,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    made = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=key("ACCESS_KEY_ID"),
        aws_secret_access_key=key("SECRET_ACCESS_KEY"),
        region_name=os.environ.get(f"{side}AWS_REGION") or "us-east-1",
        config=config,
    )
    for operation in ["PutObject", "CreateMultipartUpload"]:
        made.meta.events.unregister(f"before-parameter-build.s3.{operation}", validate_ascii_metadata)
    made.meta.events.register("before-send.s3", as_bytes)
    return made


def as_bytes(request, **_):
    """Headers were signed as UTF-8 and have to be sent so; Python would send them as Latin-1."""
    for name, value in list(request.headers.items()):
        if isinstance(value, str) and not value.isascii():
            request.headers.replace_header(name, value.encode())


def with_headers(s3, operation, headers, call):
    """Makes a call with headers as they are given, before it is signed."""

    def add(params, **_):
        params["headers"].update(headers)

    event = f"before-call.s3.{operation}"
    s3.meta.events.register(event, add)
    try:
        return call()
    finally:
        s3.meta.events.unregister(event, add)


# ---- objects ----------------------------------------------------------------------------------------


def list_keys(s3, bucket, prefix=""):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [entry["Key"][len(prefix) :] for page in pages for entry in page.get("Contents", [])]


def utf8(header):
    """A header's bytes as text; http.client has read them as Latin-1."""
    return header.encode("latin-1").decode("utf-8", "surrogateescape")


def read(s3, bucket, key, acl=False):
    """All that can be seen of an object, by field."""
    head = s3.head_object(Bucket=bucket, Key=key)["ResponseMetadata"]["HTTPHeaders"]
    body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    seen = {
        "size": int(head["content-length"]),
        "content": hashlib.sha256(body).hexdigest(),
        "etag": head["etag"],
        "parts": parts(s3, bucket, key, len(body)),
        "modified": head["last-modified"],
        "storage-class": head.get("x-amz-storage-class", "STANDARD"),
        "metadata": {n[len(METADATA) :]: utf8(v) for n, v in head.items() if n.startswith(METADATA)},
        "tags": tags(s3, bucket, key),
    }
    seen |= {name: utf8(head[name]) if name in head else None for name in CONTENT_HEADERS}
    lock = {name: head.get(name) or None for name in LOCK}
    until = lock["x-amz-object-lock-retain-until-date"]
    # Some tell fractions of a second, some an offset for Z.
    lock["x-amz-object-lock-retain-until-date"] = until and until[:19]
    if lock["x-amz-object-lock-legal-hold"] == "OFF":
        lock["x-amz-object-lock-legal-hold"] = None
    seen["lock"] = tuple(lock.values())
    if acl:
        seen["acl"] = grants(s3.get_object_acl(Bucket=bucket, Key=key))
    return seen, body


def parts(s3, bucket, key, size):
    """Sizes of the parts; one for an object in one piece."""
    try:
        first = s3.head_object(Bucket=bucket, Key=key, PartNumber=1)
    except ClientError:
        return None
    count = first.get("PartsCount")
    if not count:
        return [size]
    rest = [s3.head_object(Bucket=bucket, Key=key, PartNumber=n) for n in range(2, count + 1)]
    return [part["ContentLength"] for part in [first, *rest]]


def tags(s3, bucket, key):
    try:
        found = s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchTagSet", "NoSuchTagSetError"):
            return {}
        raise
    return {tag["Key"]: tag["Value"] for tag in found}


def grants(acl):
    """Who may do what; nothing, where that is the owner alone. MinIO's owners have no id."""
    owner = acl["Owner"].get("ID", "")
    if all((g["Grantee"].get("ID") or "") == owner for g in acl["Grants"]):
        return []
    named = (((g["Grantee"].get("URI") or g["Grantee"].get("ID") or ""), g["Permission"]) for g in acl["Grants"])
    return sorted(named)


def write(s3, bucket, key, seen, body, replica=False):
    """Writes an object as it was seen, in the same parts."""
    headers = {name: seen[name] for name in CONTENT_HEADERS if seen.get(name) is not None}
    headers |= {METADATA + name: value for name, value in seen.get("metadata", {}).items()}
    headers |= {name: value for name, value in zip(LOCK, seen.get("lock", ())) if value}
    if LOCK[1] in headers:
        headers[LOCK[1]] += "Z"
    if seen.get("tags"):
        import urllib.parse

        headers["x-amz-tagging"] = urllib.parse.urlencode(seen["tags"], quote_via=urllib.parse.quote)
    if seen.get("storage-class", "STANDARD") != "STANDARD":
        headers["x-amz-storage-class"] = seen["storage-class"]
    for grantee, permission in seen.get("acl", ()):
        kind = "uri" if "://" in grantee else "id"
        name = f"x-amz-grant-{GRANTS[permission]}"
        headers[name] = ", ".join(filter(None, [headers.get(name), f'{kind}="{grantee}"']))
    told = replica_headers(seen) if replica else {}
    layout = seen.get("parts") or [len(body)]
    if "-" not in seen.get("etag", ""):
        md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
        call = lambda: s3.put_object(Bucket=bucket, Key=key, Body=body, ContentMD5=md5)
        with_headers(s3, "PutObject", headers | told, call)
        return
    create = lambda: s3.create_multipart_upload(Bucket=bucket, Key=key)
    upload = with_headers(s3, "CreateMultipartUpload", headers | told, create)["UploadId"]
    place = {"Bucket": bucket, "Key": key, "UploadId": upload}
    try:
        done, start = [], 0
        for number, size in enumerate(layout, 1):
            piece = body[start : start + size]
            part = s3.upload_part(**place, PartNumber=number, Body=piece)
            done.append({"PartNumber": number, "ETag": part["ETag"]})
            start += size
        complete = lambda: s3.complete_multipart_upload(**place, MultipartUpload={"Parts": done})
        with_headers(s3, "CompleteMultipartUpload", told, complete)
    except ClientError:
        s3.abort_multipart_upload(**place)
        raise


def replica_headers(seen):
    from email.utils import parsedate_to_datetime

    modified = parsedate_to_datetime(seen["modified"]).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "x-minio-source-replication-request": "true",
        "x-amz-replication-status": "REPLICA",
        "x-minio-source-mtime": modified,
        "x-minio-source-etag": seen["etag"].strip('"'),
    }


# ---- comparison -------------------------------------------------------------------------------------


def meaning(field, value):
    """AWS hands out metadata beyond ASCII in the words of RFC 2047, others as it was sent."""
    if field != "metadata":
        return value
    return {name: decoded(text) for name, text in value.items()}


def decoded(text):
    try:
        return "".join(p if isinstance(p, str) else p.decode(c or "utf-8") for p, c in decode_header(text))
    except (UnicodeError, LookupError, ValueError):
        return text


class Comparison:
    def __init__(self, options):
        self.options = options
        self.source, self.target = client(options.source_endpoint, "SOURCE_"), client(options.target_endpoint, "TARGET_")
        (self.source_bucket, self.source_prefix) = place(options.source)
        (self.target_bucket, self.target_prefix) = place(options.target)
        self.accounts = json.load(open(options.acl)) if options.acl else {}
        self.told = json.load(open(options.told)) if options.told else None
        self.scratch = None
        self.equal, self.unheld, self.wrong, self.notes = Counter(), Counter(), Counter(), []

    def run(self):
        here = list_keys(self.source, self.source_bucket, self.source_prefix)
        there = set(list_keys(self.target, self.target_bucket, self.target_prefix))
        misspelt = set()
        for key in here:
            if key in there:
                self.count("name", self.equal)
                self.compare(key)
            else:
                misspelt |= self.missing(key)
        for key in sorted(there - set(here) - misspelt):
            self.count("name", self.wrong, f"{key!r} is at the target only")
        self.remove_scratch()
        self.print(len(here))
        return not self.wrong

    def missing(self, key):
        """A name that the target does without: it must be unable to hold it, and the copy must have said so."""
        try:
            seen, body = read(self.source, self.source_bucket, self.source_prefix + key)
        except ClientError as error:
            # A name that the source lists and doesn't know.
            wrong = self.unheld if self.is_told("failed", key) else self.wrong
            self.count("name", wrong, f"name {key!r}: the source lists it, and says {error}")
            return set()
        spelt = self.try_name(self.target_prefix + key, seen, body)
        if spelt == [self.target_prefix + key]:
            self.count("name", self.wrong, f"{key!r} is not at the target, which takes such a name")
        elif not self.is_told("failed", key):
            self.count("name", self.wrong, f"{key!r} is not at the target, and the copy doesn't say so")
        else:
            self.count("name", self.unheld, f"name {key!r}: the target gives back {spelt}")
        return {k[len(self.target_prefix) :] for k in spelt}

    def compare(self, key):
        acl = self.options.acl is not None
        here, body = read(self.source, self.source_bucket, self.source_prefix + key, acl)
        there, _ = read(self.target, self.target_bucket, self.target_prefix + key, acl)
        if acl:
            here["acl"] = sorted((self.accounts.get(who, who), what) for who, what in here["acl"])
        tried = None
        for field, value in here.items():
            if field == "modified" and not self.options.modified:
                continue
            if value == there[field]:
                self.count(field, self.equal)
                continue
            tried = tried or self.try_object(self.target_prefix + key, here, body)
            found = tried.get(field)
            if found == value or field not in tried:
                self.count(field, self.wrong, f"{field} of {key!r}: {value!r} has become {there[field]!r}")
            elif meaning(field, value) == meaning(field, there[field]):
                self.count(field, self.equal)
                self.notes.append(f"  {field} of {key!r} is spelt otherwise: {value!r} as {there[field]!r}")
            elif field in ("tags", "lock", "acl") and not self.is_told("incomplete", key):
                self.count(field, self.wrong, f"{field} of {key!r} is not there, and the copy doesn't say so")
            else:
                self.count(field, self.unheld, f"{field} of {key!r}: {value!r}; by hand it becomes {found!r}")

    def is_told(self, kind, key):
        if self.told is None:
            return True
        told = [entry["key"] for entry in self.told[kind]["examples"]]
        # A few are named of each kind of lack; of failures all are.
        return key in told or (kind == "incomplete" and self.told[kind]["count"] > len(told) >= 10)

    # What the target makes of an object that boto3 writes.

    def bucket(self):
        if not self.scratch:
            self.scratch = f"by-hand-{uuid.uuid4().hex[:16]}"
            # As the target's: with locks, if it has them.
            make_bucket(self.target, self.scratch, has_locks(self.target, self.target_bucket))
        return self.scratch

    def try_name(self, key, seen, body):
        bucket = self.bucket()
        before = set(list_keys(self.target, bucket))
        try:
            write(self.target, bucket, key, {"parts": seen["parts"], "etag": seen["etag"]}, body)
            self.target.head_object(Bucket=bucket, Key=key)
        except ClientError:
            pass
        spelt = [k for k in list_keys(self.target, bucket) if k not in before or k == key]
        # By the name that was typed: the store may not know its own spelling.
        remove(self.target, bucket, [key, *spelt])
        return spelt

    def try_object(self, key, seen, body):
        """What becomes of each field. A store may refuse an object for one of them: then each is tried alone."""
        bucket, acl = self.bucket(), self.options.acl is not None

        def attempt(wanted):
            try:
                write(self.target, bucket, key, wanted, body, replica=self.options.modified)
                return read(self.target, bucket, key, acl)[0]
            except ClientError as error:
                return error.response["Error"]["Code"]

        found = attempt(seen)
        if isinstance(found, dict):
            return found
        always = {field: seen[field] for field in ["etag", "parts", "modified"]}
        tried = {}
        for field in seen:
            found = attempt(always | {field: seen[field]})
            tried[field] = found[field] if isinstance(found, dict) else found
        return tried

    def remove_scratch(self):
        if not self.scratch or has_locks(self.target, self.scratch):
            return
        remove(self.target, self.scratch, list_keys(self.target, self.scratch))
        try:
            self.target.delete_bucket(Bucket=self.scratch)
        except ClientError as error:
            print(f"{self.scratch} stays: {error}", file=sys.stderr)

    # The outcome.

    def count(self, field, counts, note=None):
        counts[field] += 1
        if note:
            self.notes.append(("! " if counts is self.wrong else "  ") + note)

    def print(self, objects):
        fields = ["name", *dict.fromkeys([*self.equal, *self.unheld, *self.wrong])]
        print(f"{objects} objects at the source\n")
        print(f"{'attribute':<22}{'equal':>8}{'not holdable':>14}{'wrong':>8}")
        for field in dict.fromkeys(fields):
            print(f"{field:<22}{self.equal[field]:>8}{self.unheld[field]:>14}{self.wrong[field]:>8}")
        print()
        for note in self.notes:
            print(note.encode("utf-8", "backslashreplace").decode())


def place(url):
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    return bucket, prefix


def make_bucket(s3, bucket, locks):
    more = {"ObjectLockEnabledForBucket": True} if locks else {}
    s3.create_bucket(Bucket=bucket, **more)


def has_locks(s3, bucket):
    try:
        s3.get_object_lock_configuration(Bucket=bucket)
        return True
    except ClientError:
        return False


def remove(s3, bucket, keys):
    for key in keys:
        try:
            s3.delete_object(Bucket=bucket, Key=key)
        except ClientError:
            # A name that can be listed and not be asked for.
            pass


def main():
    summary, _, _ = __doc__.partition("\n")
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("--source-endpoint", required=True)
    parser.add_argument("--target-endpoint", required=True)
    parser.add_argument("--told")
    parser.add_argument("--modified", action="store_true")
    parser.add_argument("--acl")
    sys.exit(0 if Comparison(parser.parse_args()).run() else 1)


if __name__ == "__main__":
    main()
