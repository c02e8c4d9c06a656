#!/usr/bin/env python3
"""Verifies an in-toto bundle as its specifications say, with Python's standard library alone.

attestation.py KEY_FILE BUNDLE PATCH     exit 0 verified, 1 not

DSSE protocol.md (PAE), envelope.md; in-toto attestation spec/v1/statement.md, predicates/test-result.md, runtime-trace.md.
"""
import base64, hashlib, json, pathlib, sys

# Ed25519 verification, RFC 8032 section 5.1.7, in affine coordinates: slow, and short enough to be read.
P = 2**255 - 19
D = -121665 * pow(121666, P - 2, P) % P


def add(a, b):
    (x, y), (u, v) = a, b
    t = D * x * y * u * v % P
    return (x * v + u * y) * pow(1 + t, P - 2, P) % P, (y * v + x * u) * pow(1 - t, P - 2, P) % P


def mul(scalar, point):
    out = (0, 1)
    while scalar:
        if scalar & 1:
            out = add(out, point)
        point, scalar = add(point, point), scalar >> 1
    return out


def point(raw):
    y = int.from_bytes(raw, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert y < P and (x * x - square) % P == 0, "no point of the curve"
    return (P - x if x & 1 != sign else x), y


def ed25519_valid(public, message, signature):
    s = int.from_bytes(signature[32:], "little")
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little")
    base = point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))
    return len(signature) == 64 and mul(s, base) == add(point(signature[:32]), mul(k, point(public)))


def b64(text):
    return base64.b64decode(text, validate=True)


def parse_key(text):
    """A note verifier key (C2SP signed-note): name+id+base64(1 and the public key)."""
    name, key_id, encoded = text.strip().split("+", 2)
    raw = b64(encoded)
    assert len(raw) == 33 and raw[0] == 1, "not an Ed25519 key"
    return name, key_id, raw[1:]


REQUIRED = {
    "https://in-toto.io/attestation/test-result/v0.1": ["result", "configuration"],
    "https://in-toto.io/attestation/runtime-trace/v0.1": ["monitor", "monitoredProcess", "monitorLog"],
}


def pae(kind, body):
    kind = kind.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(body), body)


def main(key_file, bundle, patch):
    name, key_id, public = parse_key(pathlib.Path(key_file).read_text())
    digest = hashlib.sha256(pathlib.Path(patch).read_bytes()).hexdigest()
    lines = pathlib.Path(bundle).read_bytes().splitlines()
    assert lines, "an empty bundle"
    for line in lines:
        envelope = json.loads(line)
        body = b64(envelope["payload"])
        [signature] = envelope["signatures"]
        assert signature["keyid"] == f"{name}+{key_id}", "another key"
        assert ed25519_valid(public, pae(envelope["payloadType"], body), b64(signature["sig"])), "a bad signature"
        assert envelope["payloadType"] == "application/vnd.in-toto+json", "not a statement"
        statement = json.loads(body)
        assert statement["_type"] == "https://in-toto.io/Statement/v1"
        [subject] = statement["subject"]
        assert subject["digest"] == {"sha256": digest}, "another patch"
        for field in REQUIRED[statement["predicateType"]]:
            assert statement["predicate"][field], field
        facts = subject["annotations"]
        print(statement["predicateType"], facts["logSize"], facts["logRoot"], statement["predicate"].get("result", ""))


try:
    main(*sys.argv[1:])
except AssertionError as e:
    sys.exit(f"not verified: {e}")
