"""Models of the program sgatlin in PyTorch: transformers with sparse feed-forward layers.

Goes along with such a model, so that the Hugging Face library loads it:

    AutoModelForCausalLM.from_pretrained(FOLDER, trust_remote_code=True)

It computes what sgatlin computes when it evaluates (running averages, no capacity of experts). It is
made to be read and to be right, not to be fast: selected rows are gathered. The formulas and their
sources are in sgatlin's docs/MODEL.md; parameters have the names they have in the file.

All feed-forward layers are one formula: a router picks blocks of neurons from a memory, and

    y = sum over picked blocks i, over neurons j of block i, of  gated act(score_i, w_in_ij . x) w_out_ij

A router returns scores and ids (rows, channels, k); class Selected reads the memory by them.

MIT licence, as sgatlin.
"""

import inspect
import math

import torch
import torch.nn.functional as F
from torch import nn
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

try:
    from transformers.cache_utils import DynamicCache
except ImportError:  # before 4.36

    class DynamicCache:
        def __init__(self):
            self.layers = {}

        def get_seq_length(self, layer=0):
            return self.layers[layer][0].shape[2] if layer in self.layers else 0

        def update(self, k, v, layer):
            if layer in self.layers:
                k, v = (torch.cat(pair, 2) for pair in zip(self.layers[layer], (k, v)))
            self.layers[layer] = k, v
            return k, v

        def reorder_cache(self, rows):
            self.layers = {i: (k[rows], v[rows]) for i, (k, v) in self.layers.items()}


# The library's word for what keeps keys and values, as argument and in what is returned; of old it was
# past_key_values.
CACHE = "cache" if "cache" in inspect.signature(CausalLMOutputWithPast).parameters else "past_key_values"
# Before 4.46 it left to the models what is given to forward next.
PREPARE = getattr(GenerationMixin, "prepare_inputs_for_generation", None)
PREPARES = PREPARE is not None and "input_ids" in inspect.signature(PREPARE).parameters

# ---------------------------------------------------------------- configuration

# What a field is when config.json does not have it.
DEFAULTS = dict(
    vocab_size=2, hidden_size=64, num_hidden_layers=1, num_attention_heads=1, head_dim=64,
    max_position_embeddings=1024, rms_norm_eps=1e-6, rope_theta=10000.0, norm="rmsnorm",
    parallel_residual=0, num_key_value_heads=0, qk_norm="head", clip_qkv=0.0, attention_bias=0,
    attention_out_bias=0, attention_sinks=0, sliding_window=0, sliding_layers="",
    attention_mlp_q="", attention_mlp_k="", attention_mlp_v="", attention_mlp_o="",
    positions="rotary", position_offset=0, rotary_dim=0, rope_interleaved=0, rope_scaling="none",
    rope_factor=1.0,
    rope_low_freq_factor=1.0, rope_high_freq_factor=4.0, rope_beta_fast=32.0, rope_beta_slow=1.0,
    rope_attention_factor=0.0, rope_original_positions=0, rope_exact_borders=0,
    trim_attention="", trim_attention_out="", trim_ffn="", trim_ffn_down="", trim_scaled=0,
    ffn="mlp",
    ffn_router="all", ffn_activation="gelu", ffn_intermediate_size=0, ffn_experts=0, ffn_channels=1,
    ffn_neurons=0, ffn_key_size=0, ffn_top_k=0, ffn_block_size=0, ffn_memory_factor=0,
    ffn_active_neurons=0, ffn_gate="none", ffn_hash_seed=0, ffn_normaliser="", ffn_query_norm="none",
    ffn_query_bias=0, ffn_layers="all", ffn_dense="", ffn_dense_size=0, ffn_share_pool=0,
    ffn_score="softmax", ffn_renormalise=0, ffn_shared_experts=0, ffn_capacity_factor=0.0,
    ffn_balance_loss=0.0, ffn_z_loss=0.0, ffn_bias_rate=0.0, ffn_bias=0, ffn_glu_interleaved=0,
    ffn_router_bias=0, ffn_shared_size=0, ffn_shared_gate=0, ffn_select="top_k", ffn_threshold=0.0,
    ffn_router_size=0, ffn_mean=0, ffn_layer_block_size="", ffn_layer_top_k="",
    ffn_layer_threshold="")  # fmt: skip
# Names that mean something else to the library: kept under sg_NAME, written under their own.
RENAMED = ("rope_scaling", "rope_theta", "sliding_window", "num_key_value_heads")


class SgatlinConfig(PretrainedConfig):
    model_type = "sgatlin"

    def __init__(self, **kwargs):
        for name, value in DEFAULTS.items():
            given = kwargs.pop(name, None)
            setattr(self, "sg_" + name if name in RENAMED else name, value if given is None else given)
        # What the library's caches ask for.
        window = self.sg_sliding_window
        self.layer_types = [
            "sliding_attention" if window and in_list(self.sliding_layers, i) else "full_attention"
            for i in range(self.num_hidden_layers)
        ]
        kwargs.pop("layer_types", None)
        super().__init__(**kwargs)
        if window:
            self.sliding_window = window

    def to_dict(self):
        out = super().to_dict()
        out.pop("layer_types", None)
        for name in RENAMED:
            value = out.pop("sg_" + name, None)
            out.pop(name, None)
            if value:
                out[name] = value
        return {k: v for k, v in out.items() if k not in DEFAULTS or v not in (0, "", None)}


def in_list(layers, i):
    """Whether layer i (from 0) is in "all", "every:N" or a list such as "1,3" or "2-4,6" (from 1)."""
    if layers in ("", "all"):
        return True
    if layers.startswith("every:"):
        return (i + 1) % int(layers[6:]) == 0
    ends = [item.split("-") for item in layers.split(",")]
    return any(int(e[0]) <= i + 1 <= int(e[-1]) for e in ends)


class LayerConfig:
    """The fields of the configuration as one layer has them: it may be dense among sparse ones."""

    def __init__(self, config, layer):
        for name in DEFAULTS:
            setattr(self, name, getattr(config, "sg_" + name if name in RENAMED else name))
        self.sparse = self.ffn not in ("mlp", "glu") and in_list(self.ffn_layers, layer)
        self.layer = layer
        for name in ("attention", "attention_out", "ffn", "ffn_down"):
            values = getattr(self, "trim_" + name)
            setattr(self, "trim_" + name, float(values.split(",")[layer]) if values else None)
        for name, number in (("block_size", int), ("top_k", int), ("threshold", float)):
            values = getattr(self, "ffn_layer_" + name)
            if values and self.sparse:
                setattr(self, "ffn_" + name, number(values.split(",")[layer]))
        if self.sparse or self.ffn in ("mlp", "glu"):
            return
        gated = self.ffn == "moe" or self.ffn == "moefied" and self.gated
        alike = gated if self.ffn_dense == "glu" else self.ffn == "moefied" and not gated
        self.ffn = self.ffn_dense
        self.ffn_intermediate_size = self.ffn_dense_size
        if not alike:  # a gated layer beside gated experts is as they are
            self.ffn_activation = "clamped_swiglu" if self.ffn == "glu" else "gelu"
        if self.ffn_activation == "clamped_swiglu":
            self.ffn_bias = 1

    @property
    def cells(self):
        return self.ffn_memory_factor * self.ffn_intermediate_size

    @property
    def active(self):
        return self.ffn_active_neurons or self.ffn_intermediate_size

    @property
    def gated(self):
        """Of moefied: whether neurons are gated linear units."""
        return self.ffn_activation in ("swiglu", "geglu", "geglu_erf", "reglu", "clamped_swiglu")

    @property
    def block(self):
        return self.ffn_block_size or self.ffn_intermediate_size


# ---------------------------------------------------------------- small parts


class Weight(nn.Module):
    """Parameters NAME.weight and NAME.bias of any shape."""

    def __init__(self, *shape, bias=None):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(*shape))
        self.bias = nn.Parameter(torch.zeros(*bias)) if bias else None


def linear(inputs, outputs, bias):
    return nn.Linear(inputs, outputs, bias=bool(bias))


class Norm(nn.Module):
    def __init__(self, width, eps, shift=False):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if shift else None

    def forward(self, x):
        u = x.float()
        if self.bias is not None:
            u = F.layer_norm(u, u.shape[-1:], self.weight.float(), self.bias.float(), self.eps)
        else:
            u = u * torch.rsqrt(u.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight.float()
        return u.to(x.dtype)


ACTIVATIONS = {
    "identity": lambda x: x,
    "gelu": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_erf": F.gelu,
    "relu": F.relu,
    "relu2": lambda x: F.relu(x).square(),
    "swish": F.silu,
}
GATED = {"swiglu": "swish", "geglu": "gelu", "geglu_erf": "gelu_erf", "reglu": "relu"}
GATED |= {name: name for name in ("swish", "gelu", "relu")}  # of omnimoe: as its neurons


def glu(c, u):
    """u (..., 2F), gates and values in two halves or in turns -> (..., F)."""
    if c.ffn_glu_interleaved:
        gate, value = u[..., 0::2], u[..., 1::2]
    else:
        gate, value = u.chunk(2, dim=-1)
    if c.ffn_activation != "clamped_swiglu":
        return ACTIVATIONS[GATED[c.ffn_activation]](gate) * value
    gate, value = gate.clamp(max=7.0), value.clamp(-7.0, 7.0)
    return gate * torch.sigmoid(1.702 * gate) * (value + 1)


def top_k(scores, k):
    """The k largest, in descending order, of equal ones the first."""
    values, ids = torch.sort(scores, dim=-1, descending=True, stable=True)
    return values[..., :k], ids[..., :k]


class Trimmed(nn.Module):
    """Inputs without those that are small, by a threshold; None: all. weight: norms of columns."""

    def __init__(self, c, threshold, width):
        super().__init__()
        self.threshold = threshold
        scaled = c.trim_scaled and threshold is not None
        self.weight = nn.Parameter(torch.ones(width)) if scaled else None

    def forward(self, x):
        if not self.threshold:
            return x
        size = x if self.weight is None else x * self.weight
        return torch.where(size.abs() <= self.threshold, torch.zeros_like(x), x)


# ---------------------------------------------------------------- dense feed-forward layers


class Mlp(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.up_proj = linear(c.hidden_size, c.ffn_intermediate_size, c.ffn_bias)
        self.down_proj = linear(c.ffn_intermediate_size, c.hidden_size, c.ffn_bias)
        self.up_norms = Trimmed(c, c.trim_ffn, c.hidden_size)
        self.down_norms = Trimmed(c, c.trim_ffn_down, c.ffn_intermediate_size)

    def forward(self, x, tokens):
        h = ACTIVATIONS[self.c.ffn_activation](self.up_proj(self.up_norms(x)))
        return self.down_proj(self.down_norms(h))


class Glu(nn.Module):
    def __init__(self, c, width):
        super().__init__()
        self.c = c
        self.gate_up_proj = linear(c.hidden_size, 2 * width, c.ffn_bias)
        self.down_proj = linear(width, c.hidden_size, c.ffn_bias)
        self.up_norms = Trimmed(c, c.trim_ffn, c.hidden_size)
        self.down_norms = Trimmed(c, c.trim_ffn_down, width)

    def forward(self, x, tokens=None):
        return self.down_proj(self.down_norms(glu(self.c, self.gate_up_proj(self.up_norms(x)))))


# ---------------------------------------------------------------- routers
#
# x (rows, d), tokens (rows) -> scores, ids (rows, channels, k).


class LinearRouter(nn.Module):
    """One score for every expert or block: moe, switch."""

    def __init__(self, c):
        super().__init__()
        self.c = c
        blocks = c.ffn_experts if c.ffn == "moe" else c.cells // c.block
        self.k = c.ffn_top_k if c.ffn == "moe" else c.active // c.block
        self.weight = nn.Parameter(torch.zeros(blocks, c.hidden_size))
        if c.ffn_router_bias:  # learned, part of the score
            self.bias = nn.Parameter(torch.zeros(blocks))
        elif c.ffn_bias_rate:  # moves the choice alone
            self.register_buffer("bias", torch.zeros(blocks))

    def forward(self, x, tokens, memory):
        c = self.c
        logits = F.linear(x, self.weight, self.bias if c.ffn_router_bias else None).float()
        p = torch.sigmoid(logits) if c.ffn_score == "sigmoid" else torch.softmax(logits, -1)
        if c.ffn_bias_rate and not c.ffn_router_bias:
            _, ids = top_k(p + self.bias.float(), self.k)
            gates = p.gather(-1, ids)
        else:
            gates, ids = top_k(p, self.k)
        if c.ffn_renormalise:
            gates = gates / (gates.sum(-1, keepdim=True) + 1e-20)
        return gates.to(x.dtype)[:, None], ids[:, None]


class Query(nn.Module):
    """A query with its norm and bias; of width 0: x itself."""

    def __init__(self, c, width):
        super().__init__()
        self.c = c
        self.query = None
        if width == 0:
            return
        self.query = linear(c.hidden_size, width, c.ffn_query_bias)
        if c.ffn_query_norm == "layernorm":
            self.query_norm = Weight(c.ffn_key_size)
        if c.ffn_query_norm == "batchnorm":
            self.query_norm = Weight(width, bias=(width,))
            self.query_norm.register_buffer("running_mean", torch.zeros(width))
            self.query_norm.register_buffer("running_var", torch.ones(width))

    def make_query(self, x):
        if self.query is None:
            return x
        q, c = self.query(x), self.c
        if c.ffn_query_norm == "layernorm":  # of each run of K numbers
            runs = q.view(len(x), -1, c.ffn_key_size)
            q = F.layer_norm(runs, runs.shape[-1:], self.query_norm.weight, None, 1e-5).view(q.shape)
        if c.ffn_query_norm == "batchnorm":
            n = self.query_norm
            q = (q - n.running_mean) * torch.rsqrt(n.running_var + 1e-5) * n.weight + n.bias
        return q


class KeyRouter(Query):
    """Scores are products of queries with keys; with product keys, sums of those of two parts."""

    def __init__(self, c):
        product = c.ffn_router.startswith("product")
        direct = c.ffn_router == "product_linear"
        keyed = c.ffn_router in ("product_key_value", "key_value", "product_keys")
        neurons, channels, key = c.ffn_neurons or c.cells, c.ffn_channels, c.ffn_key_size
        parts, n = (2, math.isqrt(neurons)) if product else (1, neurons)
        if direct:
            key = c.hidden_size
        super().__init__(c, 0 if direct else parts * channels * key if keyed else key)
        self.product, self.keyed, self.parts, self.n = product, keyed, parts, n
        self.k = c.ffn_top_k or c.active // channels
        if not keyed:
            shape = (parts * channels * n, key)
        elif product:
            shape = (2, channels, n, key)
        else:
            shape = (channels, n, key)
        self.keys = Weight(*shape)

    def forward(self, x, tokens, memory):
        c, q, channels = self.c, self.make_query(x), self.c.ffn_channels
        if self.keyed:
            q = q.view(len(x), self.parts, channels, c.ffn_key_size)
            keys = self.keys.weight.view(self.parts, channels, self.n, c.ffn_key_size)
            scores = torch.einsum("rpck,pcnk->rpcn", q, keys)
            if c.ffn_router != "product_keys":
                scores = scores / math.sqrt(self.parts * c.ffn_key_size)
        else:
            scores = F.linear(q, self.keys.weight).view(len(x), self.parts, channels, self.n)
        if not self.product:
            return top_k(scores[:, 0], self.k)
        s0, i0 = top_k(scores[:, 0], self.k)
        s1, i1 = top_k(scores[:, 1], self.k)
        sums = (s0[..., :, None] + s1[..., None, :]).flatten(-2)
        neurons = (i0[..., :, None] * self.n + i1[..., None, :]).flatten(-2)
        best, place = top_k(sums, self.k)
        return best, neurons.gather(-1, place)


class LowRankRouter(Query):
    """lorkm: the score of a cell is its coefficient, by keys of K numbers."""

    def __init__(self, c):
        super().__init__(c, c.ffn_key_size)
        self.keys = Weight(c.cells, c.ffn_key_size)

    def forward(self, x, tokens, memory):
        m = ACTIVATIONS[self.c.ffn_activation](F.linear(self.make_query(x), self.keys.weight))
        scores, ids = top_k(m, self.c.active)
        return scores[:, None], ids[:, None]


class AllKeysRouter(nn.Module):
    """vanillam: all cells are computed, and blocks chosen by the mean of what they give."""

    def __init__(self, c):
        super().__init__()
        self.c = c

    def forward(self, x, tokens, memory):
        c = self.c
        m = ACTIVATIONS[c.ffn_activation](F.linear(x, memory.w_in.weight))
        _, blocks = top_k(m.view(len(x), -1, c.block).mean(-1), c.active // c.block)
        ids = (blocks[..., None] * c.block + torch.arange(c.block, device=x.device)).flatten(-2)
        return m.gather(-1, ids)[:, None], ids[:, None]


class AverageRouter(nn.Module):
    """avgk: a block scores the product with the mean of its keys."""

    def __init__(self, c):
        super().__init__()
        self.c = c

    def forward(self, x, tokens, memory):
        c = self.c
        means = memory.w_in.weight.view(-1, c.block, c.hidden_size).mean(1)
        scores, ids = top_k(F.linear(x, means), c.active // c.block)
        gates = torch.sigmoid(scores) if c.ffn_gate == "after" else torch.ones_like(scores)
        return gates[:, None], ids[:, None]


class HashRouter(nn.Module):
    """randhash: a fixed draw for each token id, by Philox 4x32-10 (Salmon et al. 2011)."""

    def __init__(self, c):
        super().__init__()
        self.blocks, self.k = c.cells // c.block, c.active // c.block
        self.seed, self.stream = c.ffn_hash_seed, 2166136261
        for byte in f"model.layers.{c.layer}.mlp.router.hash".encode():  # FNV-1a
            self.stream = (self.stream ^ byte) * 16777619 & 0xFFFFFFFF

    def philox(self, index, sub):
        """index (n) int64 -> words 0 and 1 of the block, 32 bits each."""
        low = 0xFFFFFFFF
        a, b = index & low, index >> 32 & low
        c, d = torch.full_like(a, self.stream), torch.full_like(a, sub)
        k0, k1 = self.seed & low, self.seed >> 32
        for _ in range(10):
            x, y = 0xD2511F53 * a, 0xCD9E8D57 * c  # modulo 2^64, as int64
            a, b, c, d = (y >> 32 & low) ^ b ^ k0, y & low, (x >> 32 & low) ^ d ^ k1, x & low
            k0, k1 = k0 + 0x9E3779B9 & low, k1 + 0xBB67AE85 & low
        return a, b

    def below(self, index, bound):
        """Uniform in 0 … bound - 1; the lowest 2^64 mod bound numbers are drawn again."""
        low, high = self.philox(index, 0)
        sub, reject = 0, 2**64 % bound  # reject < bound < 2^31: high must be 0 to be below
        while ((high == 0) & (low < reject)).any():
            sub += 1
            again = (high == 0) & (low < reject)
            new_low, new_high = self.philox(index, sub)
            low, high = torch.where(again, new_low, low), torch.where(again, new_high, high)
        return (high % bound * (2**32 % bound) + low % bound) % bound

    def forward(self, x, tokens, memory):
        ids, back = torch.unique(tokens, return_inverse=True)
        order = torch.arange(self.blocks, device=x.device).repeat(len(ids), 1)
        for j in range(self.k):  # Fisher-Yates
            at = j + self.below(ids * self.k + j, self.blocks - j)
            other = order.gather(1, at[:, None])
            order.scatter_(1, at[:, None], order[:, j : j + 1].clone())
            order[:, j : j + 1] = other
        chosen = order[:, : self.k][back]
        return torch.ones_like(chosen, dtype=x.dtype)[:, None], chosen[:, None]


class BlocksRouter(nn.Module):
    """moefied: a score for each block of a dense layer, and a count for each token."""

    def __init__(self, c):
        super().__init__()
        self.c, self.kind = c, c.ffn_router
        blocks, width = c.ffn_intermediate_size // c.block, c.hidden_size
        rows = 2 * blocks if self.kind == "representative" and c.gated else blocks
        if self.kind in ("mlp", "norm"):
            width = c.ffn_router_size or blocks
            self.hidden = Weight(width, c.hidden_size)
        self.weight = nn.Parameter(torch.zeros(rows, width))
        if self.kind == "centroid" or self.kind == "representative" and c.ffn_bias:
            self.bias = nn.Parameter(torch.zeros(rows))
        else:
            self.bias = None

    def scores(self, x):
        if self.kind in ("mlp", "centroid"):
            x = F.normalize(x, dim=-1, eps=1e-30)
        if self.kind in ("mlp", "norm"):
            x = F.linear(x, self.hidden.weight)
            x = torch.tanh(x) if self.kind == "mlp" else F.relu(x)
        s = F.linear(x, self.weight, self.bias)
        if self.kind == "representative":
            return glu(self.c, s) if self.c.gated else ACTIVATIONS[self.c.ffn_activation](s)
        return {"centroid": lambda s: s, "norm": torch.abs}.get(self.kind, torch.sigmoid)(s)

    def forward(self, x, tokens, memory):
        """-> scores, ids (rows, k), and which of the k are read."""
        c = self.c
        s, ids = top_k(self.scores(x).float(), c.ffn_top_k)
        place = torch.arange(c.ffn_top_k, device=x.device)
        if c.ffn_select == "max":
            read = s >= c.ffn_threshold * s[:, :1]
        elif c.ffn_select == "threshold":
            read = s >= c.ffn_threshold
        elif c.ffn_select == "share" and c.ffn_threshold < 1:
            sums = s.double().cumsum(-1)
            before = sums - s.double()
            read = (before < c.ffn_threshold * sums[:, -1:]) | (place == 0)
        else:
            read = torch.ones_like(s, dtype=torch.bool)
        return s.to(x.dtype), ids, read.cumprod(-1).bool()


def make_router(c):
    return {
        "linear": LinearRouter,
        "keys": AllKeysRouter,
        "low_rank": LowRankRouter,
        "average": AverageRouter,
        "hash": HashRouter,
        "sigmoid": BlocksRouter,
        "mlp": BlocksRouter,
        "norm": BlocksRouter,
        "centroid": BlocksRouter,
        "representative": BlocksRouter,
    }.get(c.ffn_router, KeyRouter)(c)


# ---------------------------------------------------------------- memories

NORMALISERS = {
    "softmax": lambda s: torch.softmax(s.float(), -1).to(s.dtype),
    "sigmoid": torch.sigmoid,
    "relu": F.relu,
    "gelu": ACTIVATIONS["gelu"],
    "": lambda s: s,
}


class Memory(nn.Module):
    """The tables of a sparse layer; layers that share a pool have one of these together."""

    def __init__(self, c):
        super().__init__()
        d, width = c.hidden_size, c.ffn_intermediate_size
        if c.ffn == "moe":
            experts, bias = c.ffn_experts, c.ffn_bias
            self.gate_up_proj = Weight(experts, 2 * width, d, bias=bias and (experts, 2 * width))
            self.down_proj = Weight(experts, d, width, bias=bias and (experts, d))
            return
        if c.ffn == "moefied":
            blocks = width // c.block
            if c.gated:
                up = (blocks, 2 * c.block)
                self.gate_up_proj = Weight(*up, d, bias=c.ffn_bias and up)
            else:
                self.w_in = Weight(width, d, bias=c.ffn_bias and (width,))
            self.w_out = Weight(width, d, bias=(c.ffn_bias or c.ffn_mean) and (d,))
            if c.ffn_mean:
                self.mean = Weight(width)
            return
        rows = (c.ffn_neurons or c.cells,)
        if c.ffn == "sgatlin":  # a pool for each channel
            rows = (c.ffn_channels, c.ffn_neurons)
        if c.ffn not in ("lorkm", "pkm", "memory_plus"):
            self.w_in = Weight(*rows, d)
        self.w_out = Weight(*rows, d)


class Moefied(nn.Module):
    """The neurons of a dense layer in blocks; what is not read gives nothing, or its mean."""

    def __init__(self, c, shared):
        super().__init__()
        self.c, self.lend = c, shared
        self.router = make_router(c)
        if not c.ffn_share_pool:
            self.experts = Memory(c)
        width = c.ffn_shared_size or c.ffn_shared_experts * c.ffn_intermediate_size
        self.shared_experts = Glu(c, width) if width else None

    def forward(self, x, tokens):
        shape, c = x.shape, self.c
        x = x.reshape(-1, shape[-1])
        m = self.lend() if c.ffn_share_pool else self.experts
        scores, ids, read = self.router(x, tokens, m)
        blocks = x.new_zeros(len(x), c.ffn_intermediate_size // c.block)
        gates = scores if c.ffn_gate == "after" else torch.ones_like(scores)
        blocks.scatter_(-1, ids, gates * read)
        if c.gated:
            up, bias = m.gate_up_proj.weight, m.gate_up_proj.bias
            u = F.linear(x, up.flatten(0, 1), None if bias is None else bias.flatten())
            z = glu(c, u.view(len(x), -1, 2 * c.block))
        else:
            u = F.linear(x, m.w_in.weight, m.w_in.bias)
            z = ACTIVATIONS[c.ffn_activation](u).view(len(x), -1, c.block)
        if c.ffn_mean:
            z = z - m.mean.weight.view(-1, c.block)
        y = (z * blocks[..., None]).flatten(-2) @ m.w_out.weight
        y = y if m.w_out.bias is None else y + m.w_out.bias
        return (y if self.shared_experts is None else y + self.shared_experts(x)).view(shape)


class Selected(nn.Module):
    """A router, and the memory read by it."""

    def __init__(self, c, shared):
        super().__init__()
        self.c = c
        self.router = make_router(c)
        if not c.ffn_share_pool:
            self.experts = Memory(c)
        self.lend = shared  # a function that gives the memory of all layers
        width = c.ffn_shared_size or c.ffn_shared_experts * c.ffn_intermediate_size
        if c.ffn == "omnimoe":
            width = c.ffn_intermediate_size
        if c.ffn == "memory_plus":
            self.gate_proj = linear(c.hidden_size, c.hidden_size, True)
            self.out_proj = linear(c.hidden_size, c.hidden_size, True)
        self.shared_experts = None
        if width:
            self.shared_experts = Glu(c, width)
            if c.ffn_shared_gate:
                self.shared_expert_gate = linear(c.hidden_size, 1, False)

    def forward(self, x, tokens):
        shape, c = x.shape, self.c
        x = x.reshape(-1, shape[-1])
        memory = self.lend() if c.ffn_share_pool else self.experts
        scores, ids = self.router(x, tokens.reshape(-1), memory)
        scores = NORMALISERS[c.ffn_normaliser](scores)
        y = self.experts_of(memory, x, scores[:, 0], ids[:, 0]) if c.ffn == "moe" else (
            self.neurons_of(memory, x, scores, ids))
        if c.ffn == "memory_plus":
            y = self.out_proj(y * F.silu(self.gate_proj(x)))
        if self.shared_experts is not None:
            every = self.shared_experts(x)
            if c.ffn_shared_gate:
                every = every * torch.sigmoid(self.shared_expert_gate(x))
            y = y + every
        return y.view(shape)

    def experts_of(self, memory, x, gates, ids):
        y = torch.zeros_like(x)
        up, down = memory.gate_up_proj, memory.down_proj
        for e in ids.unique().tolist():
            rows, place = torch.where(ids == e)
            u = F.linear(x[rows], up.weight[e], None if up.bias is None else up.bias[e])
            v = F.linear(glu(self.c, u), down.weight[e], None if down.bias is None else down.bias[e])
            y.index_add_(0, rows, v * gates[rows, place, None])
        return y

    def neurons_of(self, memory, x, gates, ids):
        c = self.c
        act = ACTIVATIONS[c.ffn_activation]
        if c.ffn in ("switch", "randhash", "avgk"):  # whole blocks of cells
            g = c.block
            ids = (ids[..., None] * g + torch.arange(g, device=x.device)).flatten(-2)
            gates = gates[..., None].expand(*gates.shape, g).flatten(-2)
        if c.ffn == "sgatlin":
            channel = torch.arange(c.ffn_channels, device=x.device)[:, None].expand_as(ids)
            ids = (channel, ids)
        w_out = memory.w_out.weight[ids]  # (rows, C, k, d)
        if c.ffn in ("vanillam", "lorkm", "pkm", "memory_plus"):  # the score is what the neuron gives
            z = gates
        else:
            a = torch.einsum("rckd,rd->rck", memory.w_in.weight[ids], x)
            z = act(a * gates) if c.ffn == "sgatlin" else act(a) * gates
        return torch.einsum("rck,rckd->rd", z, w_out)


def make_ffn(c, shared):
    if c.ffn == "mlp":
        return Mlp(c)
    if c.ffn == "moefied":
        return Moefied(c, shared)
    return Glu(c, c.ffn_intermediate_size) if c.ffn == "glu" else Selected(c, shared)


# ---------------------------------------------------------------- attention


def frequencies(c):
    """One for each pair of numbers that turns, and what cosines and sines are multiplied by."""
    dim = c.rotary_dim or c.head_dim
    w = c.rope_theta ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    original = c.rope_original_positions
    if c.rope_scaling == "linear":
        return w / c.rope_factor, 1.0
    if c.rope_scaling == "llama3":
        turns = original * w / (2 * math.pi)
        low, high = c.rope_low_freq_factor, c.rope_high_freq_factor
        s = ((turns - low) / (high - low)).clamp(0, 1)
        return (1 - s) * w / c.rope_factor + s * w, 1.0
    if c.rope_scaling == "yarn":

        def pair(turns):
            return dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(c.rope_theta))

        low, high = pair(c.rope_beta_fast), pair(c.rope_beta_slow)
        if not c.rope_exact_borders:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, dim - 1)
        high += 0.001 if low == high else 0
        ramp = ((torch.arange(dim // 2, dtype=torch.float64) - low) / (high - low)).clamp(0, 1)
        w = w / c.rope_factor * ramp + w * (1 - ramp)
        return w, c.rope_attention_factor or 0.1 * math.log(c.rope_factor) + 1
    return w, 1.0


def rotate(c, x, positions):
    """x (B, H, T, hd), positions (B, T)."""
    w, length = frequencies(c)
    angle = positions[:, None, :, None].double() * w.to(x.device)
    cos, sin = (angle.cos() * length).to(x.dtype), (angle.sin() * length).to(x.dtype)
    half = len(w)
    turning, rest = x[..., : 2 * half], x[..., 2 * half :]
    if c.rope_interleaved:
        a, b = turning[..., 0::2], turning[..., 1::2]
        turned = torch.stack((a * cos - b * sin, b * cos + a * sin), -1).flatten(-2)
    else:
        a, b = turning[..., :half], turning[..., half:]
        turned = torch.cat((a * cos - b * sin, b * cos + a * sin), -1)
    return torch.cat((turned, rest), -1)


class ProjectionMLP(nn.Module):
    """What stands for a linear projection of attention: one hidden layer of ReLU."""

    def __init__(self, inputs, hidden, outputs):
        super().__init__()
        self.mlp = nn.ModuleDict(
            {"up_proj": linear(inputs, hidden, True), "down_proj": linear(hidden, outputs, True)}
        )

    def forward(self, x):
        return self.mlp["down_proj"](F.relu(self.mlp["up_proj"](x)))


def projection(c, widths, inputs, outputs, bias):
    """widths: of hidden layers, "64" of all or "64,0,64" of each; "" or 0: linear."""
    items = str(widths or "0").split(",")
    hidden = int(items[c.layer if len(items) > 1 else 0])
    return ProjectionMLP(inputs, hidden, outputs) if hidden else linear(inputs, outputs, bias)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.heads, self.groups = c.num_attention_heads, c.num_key_value_heads or c.num_attention_heads
        width, kv = self.heads * c.head_dim, self.groups * c.head_dim
        self.q_proj = projection(c, c.attention_mlp_q, c.hidden_size, width, c.attention_bias)
        self.k_proj = projection(c, c.attention_mlp_k, c.hidden_size, kv, c.attention_bias)
        self.v_proj = projection(c, c.attention_mlp_v, c.hidden_size, kv, c.attention_bias)
        self.o_proj = projection(c, c.attention_mlp_o, width, c.hidden_size, c.attention_out_bias)
        if c.qk_norm != "none":
            full = c.qk_norm == "full"
            self.q_norm = Norm(width if full else c.head_dim, c.rms_norm_eps)
            self.k_norm = Norm(kv if full else c.head_dim, c.rms_norm_eps)
        self.qkv_norms = Trimmed(c, c.trim_attention, c.hidden_size)
        self.o_norms = Trimmed(c, c.trim_attention_out, width)
        if c.attention_sinks:
            self.sinks = nn.Parameter(torch.zeros(self.heads))

    def split(self, x):
        return x.view(*x.shape[:2], -1, self.c.head_dim).transpose(1, 2)

    def project(self, x, projection, norm):
        c, y = self.c, projection(x)
        if norm is not None and c.qk_norm == "full":
            y = norm(y)
        elif norm is not None:
            y = norm(y.view(*y.shape[:2], -1, c.head_dim)).view(y.shape)
        return self.split(y.clamp(-c.clip_qkv, c.clip_qkv) if c.clip_qkv else y)

    def forward(self, x, positions, seen, cache):
        """seen (B, all tokens so far): False where there is padding, or None."""
        c, x = self.c, self.qkv_norms(x)
        q = self.project(x, self.q_proj, getattr(self, "q_norm", None))
        k = self.project(x, self.k_proj, getattr(self, "k_norm", None))
        v = self.project(x, self.v_proj, None)
        if c.positions == "rotary":
            q, k = rotate(c, q, positions), rotate(c, k, positions)
        past = 0
        if cache is not None:
            past = cache.get_seq_length(c.layer)
            k, v = cache.update(k, v, c.layer)
        queries, keys = q.shape[2], k.shape[2]
        if keys > past + queries:  # among them some that nobody wrote
            raise ValueError(f"{type(cache).__name__}: gave {keys} keys of {past + queries} tokens, "
                             "expected a cache that grows, such as DynamicCache")
        # A cache may have dropped keys that no window reaches: those left are the last ones.
        at = torch.arange(past, past + queries, device=x.device)[:, None]
        of = torch.arange(past + queries - keys, past + queries, device=x.device)[None]
        mask = of <= at
        if c.sliding_window and in_list(c.sliding_layers, c.layer):
            mask = mask & (of > at - c.sliding_window)
        mask = mask[None, None]
        if seen is not None:
            mask = mask & seen[:, None, None, -keys:]
        k = k.repeat_interleave(self.heads // self.groups, 1)
        v = v.repeat_interleave(self.heads // self.groups, 1)
        scores = (q @ k.transpose(2, 3)).float() / math.sqrt(c.head_dim)
        scores = scores.masked_fill(~mask, torch.finfo(torch.float32).min)
        if c.attention_sinks:  # takes weight and gives nothing
            sinks = self.sinks.float().view(1, -1, 1, 1).expand(len(x), -1, queries, 1)
            p = torch.softmax(torch.cat((scores, sinks), -1), -1)[..., :-1]
        else:
            p = torch.softmax(scores, -1)
        y = (p.to(x.dtype) @ v).transpose(1, 2).reshape(*x.shape[:2], -1)
        return self.o_proj(self.o_norms(y))


# ---------------------------------------------------------------- the model


class Block(nn.Module):
    def __init__(self, c, shared):
        super().__init__()
        self.parallel = c.parallel_residual
        shift = c.norm == "layernorm"
        self.input_layernorm = Norm(c.hidden_size, c.rms_norm_eps, shift)
        self.self_attn = Attention(c)
        self.post_attention_layernorm = Norm(c.hidden_size, c.rms_norm_eps, shift)
        self.mlp = make_ffn(c, shared)

    def forward(self, h, tokens, positions, seen, cache):
        a = h + self.self_attn(self.input_layernorm(h), positions, seen, cache)
        return a + self.mlp(self.post_attention_layernorm(h if self.parallel else a), tokens)


class Shared(nn.Module):
    """The memory that all sparse layers read."""

    def __init__(self, c):
        super().__init__()
        self.experts = Memory(c)


class Transformer(nn.Module):
    def __init__(self, config):
        super().__init__()
        layers = [LayerConfig(config, i) for i in range(config.num_hidden_layers)]
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        if config.positions == "learned":
            self.embed_positions = nn.Embedding(
                config.position_offset + config.max_position_embeddings, config.hidden_size
            )
        sparse = [c for c in layers if c.sparse]
        if config.ffn_share_pool and sparse:
            self.shared_memory = Shared(sparse[0])
        self.layers = nn.ModuleList(Block(c, lambda: self.shared_memory.experts) for c in layers)
        self.norm = Norm(config.hidden_size, config.rms_norm_eps, config.norm == "layernorm")

    def forward(self, tokens, positions, seen, cache):
        """The last hidden state, and all: of the embedding, between layers, the last one."""
        h = self.embed_tokens(tokens)
        if self.config.positions == "learned":
            h = h + self.embed_positions(positions + self.config.position_offset)
        every = []
        for layer in self.layers:
            every.append(h)
            h = layer(h, tokens, positions, seen, cache)
        h = self.norm(h)
        return h, (*every, h)


class SgatlinForCausalLM(PreTrainedModel, GenerationMixin):
    config_class = SgatlinConfig
    base_model_prefix = "model"
    _no_split_modules = ["Block"]

    def __init__(self, config):
        super().__init__(config)
        self.model = Transformer(config)
        if not config.tie_word_embeddings:  # else the embedding is the classifier
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def _init_weights(self, module):
        """Fresh weights are sgatlin's business: models come with theirs."""

    def get_input_embeddings(self):
        return self.model.embed_tokens

    def set_input_embeddings(self, value):
        self.model.embed_tokens = value

    def get_output_embeddings(self):
        return None if self.config.tie_word_embeddings else self.lm_head

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None,
                cache=None, labels=None, use_cache=None, logits_to_keep=0, num_items_in_batch=None,
                output_hidden_states=None, return_dict=None, **others):
        if past_key_values is not None and cache is not None and past_key_values is not cache:
            raise ValueError("cache and past_key_values: found two, expected one")
        cache = past_key_values if cache is None else cache
        if use_cache and cache is None:
            cache = DynamicCache()
        past = cache.get_seq_length() if cache is not None else 0
        self.refuse(input_ids, attention_mask, position_ids, past, others)
        seen = attention_mask.bool() if attention_mask is not None else None
        if seen is not None and bool(seen.all()):
            seen = None
        if position_ids is None and attention_mask is not None:  # padding has no position
            position_ids = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)
            position_ids = position_ids[:, -input_ids.shape[1] :]
        elif position_ids is None:
            position_ids = torch.arange(past, past + input_ids.shape[1], device=input_ids.device)
        h, states = self.model(input_ids, position_ids.expand_as(input_ids), seen, cache)
        if not isinstance(logits_to_keep, int):  # places
            h = h[:, logits_to_keep]
        elif logits_to_keep:
            h = h[:, -logits_to_keep:]
        tied = self.config.tie_word_embeddings
        logits = F.linear(h, self.model.embed_tokens.weight) if tied else self.lm_head(h)
        loss = self.loss(logits, labels, num_items_in_batch) if labels is not None else None
        if output_hidden_states is None:
            output_hidden_states = getattr(self.config, "output_hidden_states", False)
        out = CausalLMOutputWithPast(
            loss=loss, logits=logits, hidden_states=states if output_hidden_states else None,
            **{CACHE: cache},
        )
        return out.to_tuple() if return_dict is False else out

    def refuse(self, input_ids, attention_mask, position_ids, past, others):
        """Raises for what would be computed wrong: the library may pass other things in later versions."""
        if input_ids is None:
            raise ValueError("input_ids: found None, expected token ids")
        rows, new = input_ids.shape
        if others.get("cache_position") is not None:  # 4.4x and 4.5x say what the cache knows
            said = others.pop("cache_position").tolist()
            if said != list(range(past, past + new)):
                raise ValueError(f"cache_position: found {said}, expected the {new} from {past} on")
        for name, value in others.items():
            if value is not None and not (value is False and name.startswith("output_")):
                raise TypeError(f"{name}: an argument that modeling_sgatlin.py does not have")
        shape = getattr(attention_mask, "shape", type(attention_mask).__name__)
        if attention_mask is not None and shape != (rows, past + new):
            raise ValueError(f"attention_mask: found {shape}, expected shape {(rows, past + new)}: "
                             f"{past} tokens in the cache and {new} new ones")
        if position_ids is not None and (position_ids.dim() != 2 or position_ids.shape[1] != new):
            raise ValueError(f"position_ids: found shape {tuple(position_ids.shape)}, expected "
                             f"{(rows, new)}")

    def loss(self, logits, labels, count):
        """The mean of what the next tokens cost; of several batches, the part of this one in it."""
        found, expected = logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten()
        if count is None:
            return F.cross_entropy(found, expected)
        return F.cross_entropy(found, expected, reduction="sum") / count

    if not PREPARES:

        def prepare_inputs_for_generation(self, input_ids, past_key_values=None, past=None, **kwargs):
            past_key_values = past if past_key_values is None else past_key_values  # past: before 4.26
            if past_key_values is not None:
                # Its length, or one token where all are in it.
                past = min(past_key_values.get_seq_length(), input_ids.shape[1] - 1)
                input_ids = input_ids[:, past:]
            return {"input_ids": input_ids, "past_key_values": past_key_values, **kwargs}

    def _reorder_cache(self, cache, rows):
        cache.reorder_cache(rows)
        return cache
