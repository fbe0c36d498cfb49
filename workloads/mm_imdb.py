"""MM-IMDB: the genres of a film from its plot and its poster (Arevalo et al. 2017), with ALBERT and VGG.

23 labels, each on its own. A poster of ``image`` pixels a side, a plot of ``length`` tokens. The text feature
is ALBERT's last token, as in the reference; its pooler runs and is not used. The paper says "VGG" alone and
the reference takes 16 layers: ``vgg`` chooses. Low-rank and multiplicative are the reference's, early fuses
before the Maxout networks; zero, sum, attention and linear_glu are MMBench's table 1 on the 512-wide features.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from mmsim.workloads import fusion, text
from mmsim.workloads.base import Choice, MultiModal, Workload, uniform
from mmsim.workloads.blocks import MaxoutMLP
from mmsim.workloads.end_to_end import HostStep, Preprocess
from mmsim.workloads.preprocess import tokenizer
from mmsim.workloads.preprocess.picture import Caffe, Square, picture
from mmsim.workloads.trunks import VGG

GENRES, WIDTH = 23, 512
TEXT, POSTER = 768, 4096  # widths before the Maxout networks
TEXT_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def build(choice: Choice) -> nn.Module:
    early = choice.fusion == "early"
    encoders: dict[str, nn.Module] = {}
    if choice.uses("text"):
        maxout = [] if early else [MaxoutMLP(TEXT, WIDTH, WIDTH)]
        encoders["text"] = text.albert(choice["length"], text.Pick(-1), *maxout)
    if choice.uses("image"):
        maxout = [] if early else [MaxoutMLP(POSTER, 1024, WIDTH)]
        encoders["image"] = nn.Sequential(VGG(choice["vgg"]), nn.Linear(1000, POSTER), *maxout)
    operator, fused = (nn.Identity(), WIDTH) if choice.modality else FUSIONS[choice.fusion]()
    head = MaxoutMLP(fused, WIDTH, WIDTH, GENRES) if early else nn.Linear(fused, GENRES)
    return MultiModal(encoders, operator, head, {"text": TEXT_INPUTS})


def inputs(choice: Choice) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    if choice.uses("text"):
        found |= text.text_inputs(choice.batch, choice["length"], text.ALBERT_TOKENS)
    if choice.uses("image"):  # blue, green, red in 0..255 with the mean of each taken off
        side = choice.at_least("image", 32)
        found["image"] = uniform(choice.batch, 3, side, side, low=-124.0, high=152.0)
    return found


def preprocess(choice: Choice) -> Iterator[Preprocess | HostStep]:
    """A plot of about as many words as fill the tokens, and a poster of 960x640 pixels."""
    if choice.uses("text"):
        yield tokenizer.tokenise("text", tokenizer.albert, choice.batch, choice["length"], choice["length"])
    if choice.uses("image"):
        poster = picture(choice.batch, 960, 640)
        yield Preprocess("image", nn.Sequential(Square(choice["image"]), Caffe()), {"poster": poster}, ("image",))


PAIR = [WIDTH, WIDTH]
FUSIONS = {  # name -> the operator and its fused width
    "concat": lambda: (fusion.Concat(), 2 * WIDTH),
    "tensor": lambda: (fusion.OuterProduct(), fusion.OuterProduct.width(PAIR)),
    "early": lambda: (fusion.Concat(), TEXT + POSTER),
    "low_rank": lambda: (fusion.LowRank(PAIR, WIDTH, rank=128), WIDTH),
    "multiplicative": lambda: (fusion.Multiplicative(PAIR, 2 * WIDTH), 2 * WIDTH),
    "zero": lambda: (fusion.Zero(), WIDTH),
    "sum": lambda: (fusion.Sum(), WIDTH),
    "attention": lambda: (fusion.Attention(), WIDTH),
    "linear_glu": lambda: (fusion.LinearGLU(PAIR, WIDTH), WIDTH),
}

WORKLOAD = Workload(
    name="mm_imdb",
    title="MM-IMDB",
    domain="multimedia",
    task="multi-label classification, 23 genres",
    fusions=tuple(FUSIONS),
    modalities=("text", "image"),
    build=build,
    inputs=inputs,
    preprocess=preprocess,
    knobs={"length": 128, "image": 224, "vgg": 16},
)
