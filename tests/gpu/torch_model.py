# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# A small transformer that makes one token after the other, as language models are served: batch 1,
# keys and values cached, every shape fixed so that a step can be captured as a graph. Its weights
# are random.
import torch
import torch.nn.functional as functional

LAYERS, WIDTH, HEADS, INNER, WORDS, CONTEXT = 8, 1024, 16, 4096, 16384, 512


class Layer(torch.nn.Module):
    def __init__(self, width, heads, inner, context):
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.before, self.between = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.into, self.out = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)
        self.up, self.down = torch.nn.Linear(width, inner), torch.nn.Linear(inner, width)
        for name in ("keys", "values"):
            self.register_buffer(name, torch.zeros(1, heads, context, self.size))

    def forward(self, x, position, mask):
        query, key, value = self.into(self.before(x)).view(1, 1, 3, self.heads, self.size) \
            .permute(2, 0, 3, 1, 4)
        self.keys.index_copy_(2, position, key)
        self.values.index_copy_(2, position, value)
        seen = functional.scaled_dot_product_attention(query, self.keys, self.values,
                                                       attn_mask=mask)
        x = x + self.out(seen.transpose(1, 2).reshape(1, 1, -1))
        return x + self.down(functional.gelu(self.up(self.between(x))))


class Decoder(torch.nn.Module):
    """step() takes the last token and its position from `token` and `position`, and leaves the next
    ones there. All of it happens on the device."""

    def __init__(self, layers=LAYERS, width=WIDTH, heads=HEADS, inner=INNER, words=WORDS,
                 context=CONTEXT):
        super().__init__()
        self.words = torch.nn.Embedding(words, width)
        self.places = torch.nn.Embedding(context, width)
        self.layers = torch.nn.ModuleList(
            Layer(width, heads, inner, context) for _ in range(layers))
        self.last = torch.nn.LayerNorm(width)
        self.register_buffer("token", torch.zeros(1, dtype=torch.long))
        self.register_buffer("position", torch.zeros(1, dtype=torch.long))
        self.register_buffer("steps", torch.arange(context))

    @torch.no_grad()
    def step(self):
        x = (self.words(self.token) + self.places(self.position)).unsqueeze(0)
        mask = (self.steps <= self.position).view(1, 1, 1, -1)
        for layer in self.layers:
            x = layer(x, self.position, mask)
        scores = self.last(x)[0] @ self.words.weight.T
        self.token.copy_(scores.argmax(-1))
        self.position.copy_((self.position + 1) % len(self.steps))
