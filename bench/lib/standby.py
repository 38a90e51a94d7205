"""Figures of a live copy, one line a run: ROW TOOL WALL_S CPU_S RSS_KIB EXIT OBJECTS REQUESTS P50_MS P99_MS."""

import argparse
import json
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from pymongo import MongoClient, ReplaceOne, UpdateOne, WriteConcern

MAJORITY = WriteConcern("majority")
BATCH = 1000
BODY = "x" * 950
ROWS = ["standby-apply", "standby-update", "standby-lag", "standby-shift", "activation"]


class Server:
    """A replica set of one member, on a port of its own."""

    def __init__(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.folder = tempfile.mkdtemp(prefix="farshore-bench-")
        program = pathlib.Path(sys.executable).with_name("secantusd-py")
        self.child = subprocess.Popen(
            [
                sys.executable, program, "--port", str(self.port), "--storage-path", self.folder,
                "--oplog-max-entries", "10000000", "--noop-heartbeat-seconds", "1", "--log-level", "ERROR",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        self.uri = f"mongodb://127.0.0.1:{self.port}/?directConnection=true"
        self.client = MongoClient(self.uri, serverSelectionTimeoutMS=20_000)
        self.client.admin.command("ping")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()
        self.child.kill()
        self.child.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Follower:
    """Farshore, and what it reported last."""

    def __init__(self, program, master, target, *flags):
        command = [program, "follow", master.uri, target.uri, "--json", *flags]
        self.log = tempfile.TemporaryFile()
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.report = {}
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.child.stdout:
            self.report = json.loads(line)

    def wait(self, what, holds, patience=300):
        until = time.monotonic() + patience
        while not holds(self.report):
            if self.child.poll() is not None or time.monotonic() > until:
                self.log.seek(0)
                sys.exit(f"not {what}: {self.report}\n{self.log.read().decode()[-3000:]}")
            time.sleep(0.005)

    def follows(self):
        self.wait("following", lambda report: report.get("stage") == "Following")

    def usage(self):
        """CPU seconds so far, and the highest memory in KiB."""
        fields = pathlib.Path(f"/proc/{self.child.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        status = pathlib.Path(f"/proc/{self.child.pid}/status").read_text()
        peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
        return (int(fields[11]) + int(fields[12])) / 100, int(peak)

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        self.child.wait()
        self.reader.join()


def note(row, tool, wall, cpu="-", rss="-", code=0, objects="-", p50="-", p99="-"):
    print(row, tool, f"{wall:.3f}", cpu, rss, code, objects, "-", p50, p99, sep="\t", flush=True)


def percentile(values, share):
    values = sorted(values)
    return round(values[min(len(values) - 1, int(len(values) * share))], 1)


def document(number):
    return {"_id": number, "kind": number % 7, "tags": ["a", "b"], "body": BODY}


def put(number):
    return ReplaceOne({"_id": number}, document(number), upsert=True)


def change(number):
    return UpdateOne({"_id": number}, {"$set": {"kind": number % 11, "at.place": number}, "$push": {"tags": "c"}})


def driver(collection, operations):
    """What anybody would write: batches of a thousand, unordered, one after another."""
    began = time.monotonic()
    for first in range(0, len(operations), BATCH):
        collection.bulk_write(operations[first : first + BATCH], ordered=False)
    return time.monotonic() - began


def applied(options, row, operation):
    """The same changes by a driver's loop, and by Farshore from a master that has made them while it was away."""
    for _ in range(options.rounds):
        with Server() as master, Server() as target, Server() as plain:
            history = [put(number) for number in range(options.documents)] if row == "standby-update" else [put(0)]
            driver(master.client.shop.get_collection("docs", write_concern=MAJORITY), history)
            collection = plain.client.shop.get_collection("docs", write_concern=MAJORITY)
            driver(collection, history)
            operations = [operation(number) for number in range(options.documents)]
            note(row, "driver", driver(collection, operations), objects=options.documents)
            follower = Follower(options.program, master, target)
            follower.follows()
            follower.stop()
            driver(master.client.shop.docs, operations)
            last = {"_id": "last"}
            master.client.shop.docs.insert_one(last)
            follower = Follower(options.program, master, target)
            there = target.client.shop.docs
            first = operation(options.documents // 100)
            while not begun(there, first):
                time.sleep(0.005)
            began, share = time.monotonic(), options.documents // 100
            while there.find_one(last) is None:
                # Each question takes of the server's time.
                time.sleep(0.2)
            wall = (time.monotonic() - began) * options.documents / (options.documents - share)
            cpu, rss = follower.usage()
            follower.stop()
            note(row, "farshore", wall, f"{cpu:.2f}", rss, objects=there.count_documents({}) - 1)


def begun(collection, operation):
    """Whether this early change has arrived: what went before it is the start of a process, and no applying."""
    found = collection.find_one(operation._filter)
    return found is not None and ("at" in found or isinstance(operation, ReplaceOne))


def paced(collection, rate, seconds, stop):
    """Batches of ten at a rate a second."""
    began, number = time.monotonic(), 0
    while not stop.is_set() and time.monotonic() - began < seconds:
        collection.bulk_write([put(number + n) for n in range(10)], ordered=False)
        number += 10
        time.sleep(max(0, began + number / rate - time.monotonic()))
    return number


def lag(options):
    """From the master's answer to a write, at half of the rate that a driver reaches, until it is seen at the target."""
    with Server() as master, Server() as target:
        rate = 20_000 / driver(target.client.bench.get_collection("docs", write_concern=MAJORITY), [put(n) for n in range(20_000)])
        target.client.drop_database("bench")
        follower = Follower(options.program, master, target)
        follower.follows()
        stop, waits = threading.Event(), []
        writer = threading.Thread(target=paced, args=(master.client.shop.docs, rate / 2, options.lag, stop))
        before, _ = follower.usage()
        began = time.monotonic()
        writer.start()
        while writer.is_alive():
            waits.append(seen(master, target, len(waits)))
            time.sleep(0.02)
        wall = time.monotonic() - began
        cpu, rss = follower.usage()
        follower.stop()
        objects = target.client.shop.docs.count_documents({})
        note("standby-lag", "farshore", wall, f"{cpu - before:.2f}", rss, 0, objects, percentile(waits, 0.5), percentile(waits, 0.99))


def seen(master, target, number):
    """Milliseconds from the master's answer to a write until the target has it."""
    master.client.shop.marks.insert_one({"_id": number})
    at = time.monotonic()
    while target.client.shop.marks.find_one({"_id": number}) is None:
        if time.monotonic() > at + 60:
            sys.exit(f"mark {number} does not arrive")
        time.sleep(0.002)
    return (time.monotonic() - at) * 1000


def shift(options):
    """How far it is behind at worst while one run takes over from another, with a write load on the master."""
    with Server() as master, Server() as target:
        follower = Follower(options.program, master, target)
        follower.follows()
        stop, waits, worst = threading.Event(), [], []
        writer = threading.Thread(target=paced, args=(master.client.shop.docs, 500, 3600, stop))
        began = time.monotonic()
        writer.start()
        for _ in range(options.shifts):
            first, until = len(waits), time.monotonic() + 2
            # Names of runs are of a second: the next one has to have a later one.
            time.sleep(1.1)
            successor = Follower(options.program, master, target)
            while successor.report.get("stage") != "Following" or time.monotonic() < until:
                waits.append(seen(master, target, len(waits)))
                if successor.child.poll() is not None:
                    sys.exit(f"the successor ended: {successor.child.returncode}")
            follower.child.wait(20)
            follower = successor
            worst.append(max(waits[first:]))
        stop.set()
        writer.join()
        cpu, rss = follower.usage()
        follower.stop()
        note("standby-shift", "farshore", time.monotonic() - began, cpu, rss, 0, len(worst), percentile(worst, 0.5), percentile(worst, 0.99))


def activation(options):
    """A master that is written to is cut off, by its death; from the end of the drain until the target is active."""
    took, began = [], time.monotonic()
    for _ in range(options.activations):
        with Server() as master, Server() as target:
            driver(master.client.shop.docs, [put(number) for number in range(1_000)])
            follower = Follower(options.program, master, target, "--drain-timeout", "1s")
            follower.follows()
            stop = threading.Event()
            writer = threading.Thread(target=until_gone, args=(master.client.shop.docs, stop), daemon=True)
            writer.start()
            time.sleep(0.5)
            master.child.kill()
            stop.set()
            follower.child.send_signal(signal.SIGUSR1)
            follower.wait("active", lambda report: report.get("stage") == "Active", 60)
            receipt = follower.report["activation"]["receipt"]
            took.append(receipt["tookMilliseconds"] - receipt["drainMilliseconds"])
            follower.child.wait()
            target.client.shop.docs.insert_one({"_id": "of its own"})
    note("activation", "farshore", time.monotonic() - began, objects=len(took), p50=percentile(took, 0.5), p99=percentile(took, 0.99))


def until_gone(collection, stop):
    try:
        paced(collection, 500, 60, stop)
    except Exception:  # the server is killed meanwhile
        return


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    for name in ("rounds", "documents", "lag", "shifts", "activations"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("rows", nargs="*")
    options = parser.parse_intermixed_args()
    for row in options.rows or ROWS:
        match row:
            case "standby-apply":
                applied(options, row, put)
            case "standby-update":
                applied(options, row, change)
            case "standby-lag":
                lag(options)
            case "standby-shift":
                shift(options)
            case "activation":
                activation(options)
            case _:
                sys.exit(f"no row is called {row!r}: {ROWS}")


main()
