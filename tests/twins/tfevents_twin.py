#!/usr/bin/env python3
"""An event file written from the specifications alone, to hold against src/format/tfevents.c.

Makes tests/golden/tfevents/expected.bin: the events that tests/unit/test_tfevents.c writes.
With --check FOLDER, reads the event files of a folder with TensorBoard itself (if installed) and
prints what it shows.
CRC-32C: bit by bit from the polynomial (RFC 3720, B.4). Field numbers: tensorboard/compat/proto.
"""
import pathlib
import struct
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent / "golden" / "tfevents"


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        for bit in range(8):
            low = (crc ^ (byte >> bit)) & 1
            crc = (crc >> 1) ^ (0x82F63B78 if low else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) % 2**32


def record(message):
    head = struct.pack("<Q", len(message))
    return b"".join([head, struct.pack("<I", masked(head)), message,
                     struct.pack("<I", masked(message))])


def varint(value):
    out = bytearray()
    while True:
        out.append(value & 127 | (128 if value > 127 else 0))
        value >>= 7
        if not value:
            return bytes(out)


def field(number, kind, payload):
    return varint(number * 8 + kind) + payload


def text(number, value):
    return field(number, 2, varint(len(value)) + value)


def event(time, step, *rest):
    parts = [field(1, 1, struct.pack("<d", time))]
    if step:
        parts.append(field(2, 0, varint(step)))
    return b"".join(parts + list(rest))


def scalar(time, step, tag, value):
    inner = text(1, tag) + field(2, 5, struct.pack("<f", value))
    return event(time, step, text(5, text(1, inner)))


def words(time, step, tag, value):
    tensor = field(1, 0, varint(7)) + text(2, text(2, field(1, 0, varint(1)))) + text(8, value)
    inner = text(1, tag) + text(8, tensor) + text(9, text(1, text(1, b"text")))
    return event(time, step, text(5, text(1, inner)))


def expected():
    events = [
        event(1700000000.25, 0, text(3, b"brain.Event:2")),
        event(1700000000.25, 101, text(7, field(1, 0, varint(1)))),
        scalar(1700000001.5, 101, b"train/loss", 2.5),
        scalar(1700000002.5, 300, b"train/loss", float("nan")),
        words(1700000003.5, 2**40, b"sample", "Once upon a time … ".encode() * 20),
    ]
    return b"".join(map(record, events))


def main():
    assert crc32c(b"123456789") == 0xE3069283  # the check value of the published catalogue
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    if len(sys.argv) == 3 and sys.argv[1] == "--check":
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        found = EventAccumulator(sys.argv[2], size_guidance={"tensors": 0, "scalars": 0}).Reload()
        print(found.Tags())
        for tag in found.Tags()["scalars"]:
            print(tag, [(e.step, e.value) for e in found.Scalars(tag)])
        for tag in found.Tags()["tensors"]:
            print(tag, [(e.step, e.tensor_proto.string_val) for e in found.Tensors(tag)])
        return
    ROOT.mkdir(parents=True, exist_ok=True)
    (ROOT / "expected.bin").write_bytes(expected())


if __name__ == "__main__":
    main()
