"""The random numbers of src/base/rng.h once more: Philox 4x32-10.

Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"; checked below against the known
answers that its authors publish. Only the twins use it.
"""

M32 = (1 << 32) - 1


def philox(counter, key):
    """Ten rounds on a counter of four 32-bit words with a key of two."""
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [b >> 32 ^ c[1] ^ k[0], b & M32, a >> 32 ^ c[3] ^ k[1], a & M32]
        k = [(k[0] + 0x9E3779B9) & M32, (k[1] + 0xBB67AE85) & M32]
    return c


def u64(seed, stream, index, sub=0):
    words = philox([index & M32, index >> 32, stream, sub], [seed & M32, seed >> 32])
    return words[1] << 32 | words[0]


def below(seed, stream, index, bound):
    """Uniform in [0, bound): the 2^64 mod bound lowest numbers would bias it and are drawn again."""
    reject, sub = (1 << 64) % bound, 0
    while (x := u64(seed, stream, index, sub)) < reject:
        sub += 1
    return x % bound


def stream(name):
    """FNV-1a, 32 bits."""
    h = 2166136261
    for byte in name.encode():
        h = (h ^ byte) * 16777619 & M32
    return h


def check():
    """Known answers of the authors (kat_vectors, philox4x32 10)."""
    pi = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0]
    assert philox([0] * 4, [0] * 2) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert philox([M32] * 4, [M32] * 2) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
    assert philox(*pi) == [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]
    assert stream("") == 0x811C9DC5 and stream("a") == 0xE40C292C
