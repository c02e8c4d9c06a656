#!/usr/bin/env python3
"""Verifies the evidence of a run as docs/evidence-format.md says, with Python's standard library alone.

verify.py DIRECTORY [--key VKEY]                     exit 0 verified, 1 tampered, 2 cut
verify.py DIRECTORY [--key VKEY] --proof PROOF LINE  exit 0 proven, 1 not

Blobs are zstd, which the standard library does not have before 3.14: they are not read.
"""
import argparse, base64, hashlib, json, pathlib, sys

MAX_LINE, MAX_NOTE = 16 << 20, 1_000_000


class Tampered(Exception):
    pass


# Ed25519 verification, RFC 8032 section 5.1.7.
P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def add(a, b):
    u, v = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    c, d = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = v - u, d - c, d + c, v + u
    return e * f % P, g * h % P, f * g % P, e * h % P


def mul(s, point):
    out = (0, 1, 1, 0)
    while s:
        if s & 1:
            out = add(out, point)
        point, s = add(point, point), s >> 1
    return out


def decode_point(raw):
    y = int.from_bytes(raw, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if y >= P or (x * x - x2) % P or (x == 0 and sign):
        raise Tampered("a point is not on the curve")
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


BASE = decode_point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def ed25519_valid(public, message, signature):
    s = int.from_bytes(signature[32:], "little")
    if len(signature) != 64 or s >= L:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % L
    a, b = mul(s, BASE), add(decode_point(signature[:32]), mul(k, decode_point(public)))
    return (a[0] * b[2] - b[0] * a[2]) % P == 0 and (a[1] * b[2] - b[1] * a[2]) % P == 0


# The tree, RFC 6962 section 2.1.
def leaf_hash(leaf):
    return hashlib.sha256(b"\0" + leaf).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


class Tree:
    def __init__(self):
        self.size, self.subtrees = 0, []

    def push(self, leaf):
        self.subtrees.append((1, leaf_hash(leaf)))
        self.size += 1
        while len(self.subtrees) > 1 and self.subtrees[-2][0] == self.subtrees[-1][0]:
            (n, right), (_, left) = self.subtrees.pop(), self.subtrees.pop()
            self.subtrees.append((2 * n, node_hash(left, right)))

    def root(self):
        out = None
        for _, subtree in reversed(self.subtrees):
            out = subtree if out is None else node_hash(subtree, out)
        return out


def root_from_path(leaf, index, size, path):
    """RFC 9162 section 2.1.3.2."""
    fn, sn, out = index, size - 1, leaf
    for sibling in path:
        if sn == 0:
            raise Tampered("the path is too long")
        if fn & 1 or fn == sn:
            out = node_hash(sibling, out)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            out = node_hash(out, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn:
        raise Tampered("the path is too short")
    return out


# Signed notes.
def b64(text):
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise Tampered("not base64") from None


def parse_key(text):
    name, _, rest = text.strip("\n").partition("+")
    key_id, _, encoded = rest.partition("+")
    raw = b64(encoded)
    if len(raw) != 33 or raw[0] != 1 or hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4].hex() != key_id:
        raise Tampered("not an Ed25519 verifier key")
    return name, bytes.fromhex(key_id), raw[1:]


def read_notes(raw):
    """Splits `checkpoints`: (text, signature lines) of each whole note, and whether a torn one follows."""
    notes, text, signatures = [], None, []
    lines = raw.split(b"\n")
    torn = lines.pop() != b""
    body = []
    for line in lines:
        if any(byte < 0x20 for byte in line):
            raise Tampered("a control character in a checkpoint")
        if text is not None and not line.startswith("\u2014 ".encode()):
            if not signatures:
                raise Tampered("a checkpoint has no signature")
            notes.append((text, signatures))
            text, signatures, body = None, [], []
        if text is not None:
            signatures.append(line.decode())
        elif line.startswith("\u2014 ".encode()):
            raise Tampered("a signature within a checkpoint's text")
        elif line:
            body.append(line)
        else:
            text = b"".join(b + b"\n" for b in body)
    if text is not None and signatures:
        notes.append((text, signatures))
        return notes, torn
    return notes, torn or bool(body) or text is not None


def check_note(text, signatures, key):
    """The checkpoint (origin, size, root) of a note that the key signed."""
    name, key_id, public = key
    good = False
    for line in signatures:
        _, signer, encoded = line.split(" ", 2)
        raw = b64(encoded)
        if signer == name and raw[:4] == key_id:
            if not ed25519_valid(public, text, raw[4:]):
                raise Tampered("a checkpoint's signature is wrong")
            good = True
    if not good:
        raise Tampered("a checkpoint is not signed by the key")
    origin, size, root = text.decode().split("\n")[:3]
    if not size.isdigit() or str(int(size)) != size or len(b64(root)) != 32:
        raise Tampered("a checkpoint does not read")
    return origin, int(size), b64(root)


def verify(directory, key):
    notes, torn_note = read_notes((directory / "checkpoints").read_bytes())
    checkpoints = [check_note(text, signatures, key) for text, signatures in notes]
    if not checkpoints:
        raise Tampered("there is no whole checkpoint")
    lines = (directory / "log.jsonl").read_bytes().split(b"\n")
    torn = lines.pop() != b""
    tree, origin, ended, pending, signed = Tree(), None, None, list(checkpoints), 0
    for index, line in enumerate(lines):
        try:
            event = json.loads(line.decode())
            seq, kind, cause, data = event["seq"], event["kind"], event.get("cause"), event["data"]
        except (ValueError, KeyError, TypeError):
            raise Tampered(f"line {index + 1} is no event") from None
        if len(line) > MAX_LINE or seq != index or (cause is not None and cause >= index):
            raise Tampered(f"line {index + 1} is out of order")
        if (kind == "run.started") != (index == 0):
            raise Tampered(f"line {index + 1}: {kind} in the wrong place")
        if index == 0:
            origin = "cofferdam.dev/run/" + data["run"]
        if kind == "run.ended":
            ended = index
        tree.push(line)
        while pending and pending[0][1] <= tree.size:
            name, size, root = pending.pop(0)
            if name != origin:
                raise Tampered("a checkpoint is of another log")
            if size < tree.size or size == 0:
                raise Tampered("checkpoints go back")
            if root != tree.root():
                raise Tampered(f"the first {size} events are not those that were signed")
            signed = size
    if pending:
        raise Tampered(f"the log ends after {tree.size} events, and a checkpoint signs {pending[0][1]}")
    whole = ended is not None and ended < signed == tree.size and not torn and not torn_note
    print(f"{'verified' if whole else 'cut'}: {tree.size} events, {signed} signed, {len(checkpoints)} checkpoints")
    return 0 if whole else 2


def verify_proof(proof, line, key):
    head, _, checkpoint = proof.read_text().partition("\n\n")
    first, *rest = head.split("\n")
    if first != "c2sp.org/tlog-proof@v1":
        raise Tampered("not a proof")
    if rest[0].startswith("extra "):
        rest.pop(0)
    index, path = int(rest[0].removeprefix("index ")), [b64(text) for text in rest[1:]]
    notes, torn = read_notes(checkpoint.encode())
    if len(notes) != 1 or torn:
        raise Tampered("not one checkpoint")
    _, size, root = check_note(*notes[0], key)
    leaf = line.read_bytes()
    if index >= size or json.loads(leaf)["seq"] != index:
        raise Tampered("another event")
    if root_from_path(leaf_hash(leaf), index, size, path) != root:
        raise Tampered("not in the signed tree")
    print(f"proven: event {index} of {size}")
    return 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--key", help="the verifier key that you trust; without it, the one that the run claims")
    parser.add_argument("--proof", nargs=2, type=pathlib.Path, metavar=("PROOF", "LINE"))
    arguments = parser.parse_args()
    try:
        key = parse_key((arguments.directory / "key").read_text())
        if arguments.key and parse_key(arguments.key)[2] != key[2]:
            raise Tampered("the run claims another key than the trusted one")
        if arguments.proof:
            return verify_proof(*arguments.proof, key)
        return verify(arguments.directory, key)
    except (Tampered, OSError, UnicodeDecodeError, ValueError) as problem:
        print(f"tampered: {problem}")
        return 1


sys.exit(main())
