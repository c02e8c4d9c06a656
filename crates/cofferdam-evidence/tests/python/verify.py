#!/usr/bin/env python3
"""Verifies the evidence of a run as docs/evidence-format.md says, with Python's standard library alone.

verify.py DIRECTORY [--key VKEY] [--witness SIZE:ROOT]   exit 0 verified, 1 tampered, 2 cut
verify.py --key VKEY --proof PROOF [LINE]                exit 0 proven, 1 not
verify.py --key VKEY --batch                             for each `DIRECTORY<TAB>WITNESS` on standard input a line of JSON

Ed25519 by the package `cryptography` where it is installed, otherwise by the few lines below. Blobs are zstd: by
libzstd.so.1; where that is missing they are not read, and that is said.
"""
import argparse, base64, ctypes, datetime, functools, hashlib, json, pathlib, re, stat, sys

MAX_LINE, MAX_NOTE, MAX_KEY = 16 << 20, 1_000_000, 1024
MEMBERS = ("seq", "time", "kind", "cause", "data")
SIGNATURE = "\u2014 ".encode()


class Tampered(Exception):
    """Says what is wrong and which bytes of the log are not to be believed."""

    def __init__(self, detail, start=0, end=0):
        super().__init__(detail)
        self.start, self.end = start, end


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


def own_ed25519_valid(public, message, signature):
    s = int.from_bytes(signature[32:], "little")
    if len(signature) != 64 or s >= L:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % L
    a, b = mul(s, BASE), add(decode_point(signature[:32]), mul(k, decode_point(public)))
    return (a[0] * b[2] - b[0] * a[2]) % P == 0 and (a[1] * b[2] - b[1] * a[2]) % P == 0



try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    def ed25519_valid(public, message, signature):
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
            return True
        except InvalidSignature:
            return False

except ImportError:

    def ed25519_valid(public, message, signature):
        try:
            return own_ed25519_valid(public, message, signature)
        except Tampered:
            return False


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
    """base64 in its one form: with padding, and no bits that say nothing."""
    raw = base64.b64decode(text, validate=True)
    if base64.b64encode(raw).decode() != text:
        raise ValueError("not the one base64 form")
    return raw


def parse_key(text):
    name, key_id, encoded = text.rstrip("\n").split("+", 2)
    raw = b64(encoded)
    good = name and not any(c.isspace() for c in name) and re.fullmatch("[0-9a-fA-F]{8}", key_id)
    if not good or hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4].hex() != key_id.lower():
        raise ValueError("not a verifier key")
    if len(raw) != 33 or raw[0] != 1:
        raise ValueError("not an Ed25519 key")
    return name, bytes.fromhex(key_id), raw[1:]


class Note:
    def __init__(self, text, signatures):
        lines = text.decode().split("\n")
        if lines.pop() != "" or len(lines) < 3 or "" in lines:
            raise ValueError("a checkpoint lacks a line")
        self.text, self.origin = text, lines[0]
        if not re.fullmatch("0|[1-9][0-9]*", lines[1]) or int(lines[1]) >= 1 << 64:
            raise ValueError("a checkpoint's size does not read")
        self.size, self.root = int(lines[1]), b64(lines[2])
        if len(self.root) != 32 or len(signatures) > 100:
            raise ValueError("a checkpoint's root or signatures do not read")
        self.signatures = []
        for line in signatures:
            name, encoded = line.decode().removeprefix("\u2014 ").split(" ", 1)
            raw = b64(encoded)
            if len(raw) < 5 or not name or "+" in name or any(c.isspace() for c in name):
                raise ValueError("a signature line does not read")
            self.signatures.append((name, raw[:4], raw[4:]))

    def check(self, key):
        """Why the key did not sign it, or nothing."""
        name, key_id, public = key
        own = [raw for signer, signer_id, raw in self.signatures if (signer, signer_id) == (name, key_id)]
        if not own:
            return "a checkpoint is not signed by the key"
        if len(own[0]) != 64 or not ed25519_valid(public, self.text, own[0]):
            return "a checkpoint's signature is wrong"


def read_notes(raw):
    """Splits `checkpoints`: the whole notes, and whether the rest is nothing, `torn` or `malformed`."""
    lines, notes, at = raw.split(b"\n"), [], 0
    torn_line = lines.pop()
    while at < len(lines) or torn_line:
        text, signatures, body, size = None, [], [], 0
        while True:
            if at == len(lines):
                if text is not None and signatures:
                    break
                return notes, "malformed" if len(torn_line) > MAX_NOTE else "torn"
            line = lines[at]
            is_signature = line.startswith(SIGNATURE)
            if text is not None and signatures and not is_signature:
                break
            size += len(line) + 1
            if size > MAX_NOTE or any(byte < 0x20 for byte in line) or is_signature == (text is None):
                return notes, "malformed"
            if text is not None:
                signatures.append(line)
            elif line:
                body.append(line + b"\n")
            else:
                text = b"".join(body)
            at += 1
        try:
            notes.append(Note(text, signatures))
        except ValueError:
            return notes, "malformed"
        if at == len(lines) and not torn_line:
            break
    return notes, None


# Events.
def parse_event(line):
    """The members that verification needs; ValueError where the line is no event."""

    def unique(pairs):
        names = [name for name, _ in pairs]
        if {"seq", "time", "kind", "data"} <= set(names) and any(names.count(n) > 1 for n in MEMBERS):
            raise ValueError("a member stands twice")
        return dict(pairs)

    def constant(name):
        raise ValueError(f"{name} is not JSON")

    text = line.decode()
    if not text.startswith("{"):
        raise ValueError("not an object")
    event = json.loads(text, object_pairs_hook=unique, parse_constant=constant)
    json.dumps(event, ensure_ascii=False).encode()  # lone surrogates are no text
    seq, time, kind, cause, data = event["seq"], event["time"], event["kind"], event.get("cause"), event["data"]
    if not is_u64(seq) or not (cause is None or is_u64(cause)) or type(kind) is not str or type(data) is not dict:
        raise ValueError("a member is of the wrong type")
    check_time(time)
    return seq, kind, cause, data


def is_u64(value):
    return type(value) is int and 0 <= value < 1 << 64


def check_time(text):
    match = re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)\.(\d{9})Z", text, re.ASCII)
    if not match:
        raise ValueError("not a time")
    *parts, nanoseconds = (int(part) for part in match.groups())
    epoch = datetime.datetime(1970, 1, 1)
    since = datetime.datetime(*parts) - epoch
    total = (since.days * 86400 + since.seconds) * 10**9 + nanoseconds
    if not -(1 << 63) <= total < 1 << 63:
        raise ValueError("a time out of range")


def named_blobs(value):
    """Each object with the members `digest` and `size` and no others."""
    if type(value) is list:
        for item in value:
            yield from named_blobs(item)
    elif type(value) is dict:
        if set(value) == {"digest", "size"}:
            digest, size = value["digest"], value["size"]
            if type(digest) is not str or not re.fullmatch("[0-9a-f]{64}", digest) or not is_u64(size):
                raise ValueError("not a blob's name")
            yield digest, size
        else:
            for item in value.values():
                yield from named_blobs(item)


# Blobs.
class Buffer(ctypes.Structure):
    _fields_ = [("data", ctypes.c_char_p), ("size", ctypes.c_size_t), ("pos", ctypes.c_size_t)]


@functools.cache
def libzstd():
    try:
        library = ctypes.CDLL("libzstd.so.1")
    except OSError:
        return None
    library.ZSTD_createDCtx.restype = ctypes.c_void_p
    for name in ("ZSTD_decompressStream", "ZSTD_DCtx_setParameter"):
        getattr(library, name).restype = ctypes.c_size_t
    return library


def decompress(raw, most):
    """At most `most` bytes of content; ValueError where it is none."""
    library = libzstd()
    context = ctypes.c_void_p(library.ZSTD_createDCtx())
    try:
        library.ZSTD_DCtx_setParameter(context, 100, 23)  # ZSTD_d_windowLogMax
        source, out, left = Buffer(raw, len(raw), 0), bytearray(), 1
        room = ctypes.create_string_buffer(1 << 17)
        while source.pos < source.size or left:
            before = source.pos
            target = Buffer(ctypes.cast(room, ctypes.c_char_p), len(room), 0)
            left = library.ZSTD_decompressStream(context, ctypes.byref(target), ctypes.byref(source))
            if library.ZSTD_isError(ctypes.c_size_t(left)):
                raise ValueError("a blob does not decompress")
            out += room.raw[: target.pos]
            if len(out) > most:
                raise ValueError("a blob is longer than its name says")
            if left and source.pos == before and target.pos == 0:
                raise ValueError("a blob is cut short")
        return bytes(out)
    finally:
        library.ZSTD_freeDCtx(context)


PACKS = {}


def packed(directory, digest):
    """Salt and zstd of a blob that is in a pack."""
    if directory not in PACKS:
        records = PACKS[directory] = {}
        for path in sorted((directory / "blobs").glob("pack-*")):
            if not stat.S_ISREG(path.lstat().st_mode):
                continue
            raw, at = path.read_bytes(), 0
            while at + 36 <= len(raw):
                name, length = raw[at : at + 32].hex(), int.from_bytes(raw[at + 32 : at + 36], "big")
                at += 36
                if not 32 <= length <= 1 << 17 or at + length > len(raw):
                    break
                records.setdefault(name, raw[at : at + length])
                at += length
    raw = PACKS[directory].get(digest)
    return raw if raw and any(raw[:32]) else None


def check_blob(directory, digest, size):
    path = directory / "blobs" / digest[:2] / digest
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise ValueError("a blob is no regular file")
        raw = path.read_bytes()
    except FileNotFoundError:
        raw = packed(directory, digest)
        if raw is None:
            return
    if len(raw) < 32:
        raise ValueError("a blob is shorter than its salt")
    if libzstd() is None:
        return
    content = decompress(raw[32:], size)
    if len(content) != size or hashlib.sha256(raw[:32] + content).hexdigest() != digest:
        raise ValueError("a blob is not what its name says")


# A run.
def verify(directory, trusted, witness):
    log = directory / "log.jsonl"
    length = log.stat().st_size
    try:
        text = (directory / "key").read_bytes()
        key = parse_key(text.decode()) if len(text) <= MAX_KEY else None
        if key is None or (trusted and trusted[2] != key[2]):
            raise ValueError("another key than the trusted one")
        key = trusted or key
    except (OSError, ValueError) as problem:
        raise Tampered(f"the key: {problem}", 0, length) from None
    try:
        notes, rest = read_notes((directory / "checkpoints").read_bytes())
    except FileNotFoundError:
        raise Tampered("there is no file `checkpoints`", 0, length) from None
    lines = log.read_bytes().split(b"\n")
    torn = lines.pop()
    pending, seen = list(notes), set()
    tree, origin, ended, signed, signed_end, end, checkpoints = Tree(), None, None, 0, 0, 0, 0

    def identity(note):
        return note.check(key) or (origin is not None and note.origin != origin and "a checkpoint is of another log")

    index = 0
    while True:
        while pending and pending[0].size <= tree.size:
            note = pending.pop(0)
            why = identity(note)
            if not why and (note.size < tree.size or note.size == 0):
                why = "checkpoints go back"
            if not why and note.root != tree.root():
                why = f"the first {note.size} events are not those that were signed"
            if why:
                raise Tampered(why, signed_end, end)
            signed, signed_end, checkpoints = note.size, end, checkpoints + 1
        if witness and witness[0] == tree.size and witness[1] != tree.root():
            raise Tampered("the events are not those that were published", 0, end)
        line = lines[index] if index < len(lines) else torn
        if len(line) > MAX_LINE:
            raise Tampered(f"line {index + 1} is too long", end, end + MAX_LINE + 1)
        if index == len(lines):
            break
        try:
            seq, kind, cause, data = parse_event(line)
            if seq != index or (cause is not None and cause >= index) or (kind == "run.started") != (index == 0):
                raise ValueError("out of order")
            if index == 0:
                if not re.fullmatch("[0-9a-hjkmnp-tv-z]{12}", data["run"]):
                    raise ValueError("names no run")
                origin = "cofferdam.dev/run/" + data["run"]
            ended = index if kind == "run.ended" else ended
            for blob in named_blobs(data):
                if blob not in seen:
                    seen.add(blob)
                    check_blob(directory, *blob)
        except (ValueError, KeyError, TypeError, RecursionError) as problem:
            raise Tampered(f"line {index + 1}: {problem}", end, end + len(line) + 1) from None
        tree.push(line)
        end += len(line) + 1
        index += 1
    at = signed_end, end + len(torn)
    if pending:
        raise Tampered(identity(pending[0]) or "the log ends before what a checkpoint signs", *at)
    if rest == "malformed":
        raise Tampered("a checkpoint does not read", *at)
    if not checkpoints:
        raise Tampered("there is no whole checkpoint", *at)
    if witness and witness[0] > tree.size:
        raise Tampered("the log is shorter than what was published", *at)
    whole = ended is not None and ended < signed == tree.size and not torn and rest is None
    return whole, f"{tree.size} events, {signed} signed, {checkpoints} checkpoints"


def verify_proof(proof, line, key):
    head, _, checkpoint = proof.read_text().partition("\n\n")
    first, *rest = head.split("\n")
    if first != "c2sp.org/tlog-proof@v1":
        raise Tampered("not a proof")
    extra = rest.pop(0) if rest[0].startswith("extra ") else None
    index, path = int(rest[0].removeprefix("index ")), [b64(text) for text in rest[1:]]
    notes, torn = read_notes(checkpoint.encode())
    if len(notes) != 1 or torn or notes[0].check(key):
        raise Tampered("not one checkpoint that the key signed")
    leaf = line.read_bytes() if line else b64((extra or "").removeprefix("extra "))
    if index >= notes[0].size or parse_event(leaf)[0] != index:
        raise Tampered("another event")
    if root_from_path(leaf_hash(leaf), index, notes[0].size, path) != notes[0].root:
        raise Tampered("not in the signed tree")
    print(f"proven: event {index} of {notes[0].size}")
    return 0


def parse_witness(text):
    size, _, root = text.partition(":")
    return int(size), bytes.fromhex(root)


def batch(key):
    for entry in sys.stdin.read().splitlines():
        directory, _, witness = entry.partition("\t")
        try:
            whole, said = verify(pathlib.Path(directory), key, parse_witness(witness) if witness else None)
            print(json.dumps({"verdict": "verified" if whole else "cut", "said": said}))
        except Tampered as found:
            print(json.dumps({"verdict": "tampered", "said": str(found), "start": found.start, "end": found.end}))
    return 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=pathlib.Path, nargs="?")
    parser.add_argument("--key", help="the verifier key that you trust; without it, the one that the run claims")
    parser.add_argument("--witness", help="SIZE:ROOT as it was published")
    parser.add_argument("--proof", nargs="+", type=pathlib.Path, metavar="PROOF [LINE]")
    parser.add_argument("--batch", action="store_true")
    arguments = parser.parse_args()
    try:
        key = parse_key(arguments.key) if arguments.key else None
        if arguments.proof:
            line = arguments.proof[1] if len(arguments.proof) > 1 else None
            return verify_proof(arguments.proof[0], line, key)
        if arguments.batch:
            return batch(key)
        witness = parse_witness(arguments.witness) if arguments.witness else None
        whole, said = verify(arguments.directory, key, witness)
    except Tampered as found:
        where = f", log bytes {found.start} to {found.end}" if found.end else ""
        print(f"tampered: {found}{where}")
        return 1
    except (OSError, ValueError) as problem:
        print(f"tampered: {problem}")
        return 1
    if libzstd() is None:
        print("there is no libzstd here: blobs were not read", file=sys.stderr)
    print(f"{'verified' if whole else 'cut'}: {said}")
    return 0 if whole else 2


if __name__ == "__main__":
    sys.exit(main())
