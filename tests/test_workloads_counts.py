"""Parameters and MACs of the multimedia, affective and question-answering workloads against their specification.

Figures are those measured on MMBench's and MultiBench's own modules; a figure with a unit is rounded there.
"""

from __future__ import annotations

from functools import cache

import pytest

from mmsim.workloads import get
from tests.workload_counts import Counts, agrees, count

# workload, variant, parameters, MACs a sample, output at batch 1
TABLE = """
av_mnist     concat                     260,922      11.993M    10
av_mnist     tensor                     1,182,622    12.915M    10
av_mnist     repo_tensor_matrix         302,772      3.735M     10
av_mnist     multiplicative             2,530,602    14.262M    10
av_mnist     low_rank                   1,410,682    13.147M    10
av_mnist     repo_cca                   246,046      11.978M    10
av_mnist     uni_image                  7,077        0.149M     10
av_mnist     uni_image_6                19,848       0.471M     10
av_mnist     uni_audio                  242,184      11.523M    10
mm_imdb      concat                     164,932,671  26.672G    23
mm_imdb      early                      159,671,871  26.667G    23
mm_imdb      tensor                     170,962,006  26.678G    23
mm_imdb      low_rank                   232,161,471  26.739G    23
mm_imdb      multiplicative             434,417,727  26.941G    23
mm_imdb      uni_text                   13,011,735   11.188G    23
mm_imdb      uni_image                  151,920,959  15.484G    23
cmu_mosei    concat                     112,446,739  4.433G     1
cmu_mosei    tensor                     115,228,967  4.407G     1
cmu_mosei    transformer                112,017,809  4.449G     1
cmu_mosei    repo_concat                2,712,691    98.20M     1
cmu_mosei    multibench_tensor          5,488,295    71.33M     1
cmu_mosei    multibench_low_rank        2,285,345    68.13M     1
cmu_mosei    multibench_transformer     3,080,321    153.7M     1
mustard      concat                     114,359,762  4.531G     2
mustard      tensor                     117,809,760  4.535G     2
mustard      transformer                112,026,530  4.449G     2
mustard      repo_concat                167,657,070  1109.4G    2
medical_vqa  transformer_classification 204,831,946  9.774G     330
medical_vqa  transformer                357,051,865  13.55G     20,50265
medical_vqa  repo_attention             72,465,835   46.32G     5
"""

# workload, variant, stage, parameters, MACs
STAGES = """
av_mnist     concat                     encoder:image     13,938       464,928
av_mnist     concat                     encoder:audio     221,874      11,503,104
av_mnist     concat                     fusion            0            0
av_mnist     concat                     head              25,110       25,000
av_mnist     tensor                     head              946,810      946,700
mm_imdb      concat                     encoder:text      12,999,936   11.188G
mm_imdb      concat                     encoder:image     151,909,160  15.484G
mm_imdb      concat                     fusion            0            0
mm_imdb      concat                     head              23,575       23,552
mm_imdb      tensor                     head              6,052,910    6,052,887
mm_imdb      early                      head              5,530,647    5,516,800
mm_imdb      low_rank                   fusion            67,240,576   67,305,472
mm_imdb      multiplicative             fusion            269,485,056  269,484,032
cmu_mosei    concat                     encoder:language  111,357,648  4.416G
cmu_mosei    concat                     encoder:vision    164,850      8.22M
cmu_mosei    concat                     encoder:audio     165,600      8.22M
cmu_mosei    concat                     head              758,641      757,770
cmu_mosei    transformer                encoder:language  108,891,648  4.293G
cmu_mosei    transformer                fusion            3,126,161    156.0M
mustard      transformer                fusion            3,134,882    156.4M
mustard      concat_simple              head              17,672       17,660
mustard      repo_concat                head              31,022       31,010
medical_vqa  transformer                encoder:image     13,764,736   3.421G
medical_vqa  transformer                encoder:text      124,055,040  1.706G
medical_vqa  transformer                fusion            66,167,808   4.646G
medical_vqa  transformer                head              153,064,281  3.775G
medical_vqa  transformer_classification head              844,362      0.84M
medical_vqa  uni_image                  fusion            66,167,808   3.281G
medical_vqa  repo_attention             encoder:image     60,192,808   46.05G
medical_vqa  repo_attention             encoder:text      5,449,596    65,077,248
medical_vqa  repo_attention             fusion            1,574,402    206M
"""

# the same, worked by hand: the sum of the parts named in the comment
DERIVED = """
av_mnist     zero                       250,986      11,983,048      # + linear 192 -> 48, MLP(48, 100, 10)
av_mnist     sum                        250,986      11,983,048
av_mnist     attention                  250,986      11,987,656      # + two products of 48 x 48
av_mnist     linear_glu                 255,594      11,987,656      # + two 48 x 48 without bias
mm_imdb      zero                       164,920,895  26,671,918,592  # concat - 512 x 23
mm_imdb      sum                        164,920,895  26,671,918,592
mm_imdb      attention                  164,920,895  26,672,442,880  # + two products of 512 x 512
mm_imdb      linear_glu                 165,445,183  26,672,442,880  # + two 512 x 512 without bias
cmu_mosei    low_rank                   112,026,017  4,403,394,944   # multibench_low_rank with BERT, 713 and 768
cmu_mosei    early                      112,332,801  4,451,821,056   # BERT, GRU(1555, 512), MLP(512, 512, 1)
cmu_mosei    uni_vision                 201,715      8,257,852       # GRU(713, 70), MLP(70, 512, 1)
cmu_mosei    uni_audio                  269,025      8,322,912       # GRU(74, 200), MLP(200, 512, 1)
cmu_mosei    uni_language               111,665,873  4,416,240,512   # BERT, GRU(768, 600), MLP(600, 512, 1)
mustard      concat_simple              109,499,912  4,293,420,284   # BERT with pooler, MLP(1764, 10, 2)
mustard      uni_vision                 2,148,354    94,343,168      # GRU(713, 512), MLP(512, 512, 2)
mustard      uni_audio                  548,098      20,829,696      # GRU(283, 256), MLP(256, 512, 2)
mustard      uni_language               111,666,386  4,416,241,024   # BERT, GRU(768, 600), MLP(600, 512, 2)
medical_vqa  uni_image                  80,776,906   6,702,851,584   # DenseNet, adapter, fusion over 49, classifier
medical_vqa  uni_text                   124,899,402  1,706,909,184   # RoBERTa, classifier
"""


def rows(table: str) -> list[list[str]]:
    """The cells of each line, without the comment behind it."""
    return [line.partition("#")[0].split() for line in table.strip().splitlines()]


@cache
def counted(workload: str, variant: str) -> Counts:
    return count(workload, **get(workload).variants()[variant])


@pytest.mark.parametrize("row", rows(TABLE) + [[*row, ""] for row in rows(DERIVED)], ids=lambda row: "-".join(row[:2]))
def test_parameters_macs_and_output(row: list[str]) -> None:
    workload, variant, parameters, macs, output = row
    found = counted(workload, variant)
    assert f"{found.total.parameters:,}" == parameters
    assert agrees(macs, found.total.macs), f"{found.total.macs:,} is not {macs}"
    if output:
        assert found.output == (1, *map(int, output.split(",")))
    assert sum(stage.parameters for stage in found.stages.values()) == found.total.parameters
    assert sum(stage.macs for stage in found.stages.values()) == found.total.macs


@pytest.mark.parametrize("row", rows(STAGES), ids=lambda row: "-".join(row[:3]))
def test_stages(row: list[str]) -> None:
    workload, variant, stage, parameters, macs = row
    found = counted(workload, variant).stages[stage]
    assert f"{found.parameters:,}" == parameters
    assert agrees(macs, found.macs), f"{found.macs:,} is not {macs}"


def test_what_does_nothing_is_no_stage() -> None:
    assert set(counted("cmu_mosei", "transformer").stages) == {"encoder:language", "fusion"}
    assert set(counted("av_mnist", "uni_image").stages) == {"encoder:image", "head"}


def test_every_variant_has_its_row() -> None:
    named = {tuple(row[:2]) for row in rows(TABLE) + rows(DERIVED)}
    own = {workload for workload, _ in named}
    assert named == {(workload, variant) for workload in own for variant in get(workload).variants()}


@pytest.mark.parametrize(("length", "macs"), [(32, "2.741G"), (64, "5.518G"), (256, "22.98G"), (512, "48.37G")])
def test_albert_over_lengths(length: int, macs: str) -> None:
    """Attention is quadratic in the length, the rest linear; the specification leaves the Maxout network out."""
    found = count("mm_imdb", fusion="early", length=length).stages["encoder:text"]
    assert agrees(macs, found.macs)


@pytest.mark.parametrize(("length", "macs"), [(32, "2.737G"), (64, "5.512G"), (128, "11.17G"), (512, "48.3G")])
def test_bert_over_lengths(length: int, macs: str) -> None:
    """With the pooler, as the specification counted."""
    assert agrees(macs, count("mustard", fusion="concat_simple", length=length).stages["encoder:language"].macs)


@pytest.mark.parametrize(("answer", "macs"), [(1, "1.116G"), (8, "2.094G"), (20, "3.775G")])
def test_answer_decoder_over_lengths(answer: int, macs: str) -> None:
    assert agrees(macs, count("medical_vqa", answer=answer).stages["head"].macs)


@pytest.mark.parametrize(
    ("arguments", "stage", "parameters", "macs"),
    [
        ({"vgg": 11, "fusion": "early"}, "encoder:image", 132_863_336 + 4_100_096, 7_609_090_048 + 4_096_000),
        ({"image": 448, "fusion": "early"}, "encoder:image", 142_457_640, 4 * 15_346_630_656 + 127_729_664),
    ],
)
def test_posters(arguments: dict[str, int], stage: str, parameters: int, macs: int) -> None:
    """VGG-11; and at twice the side four times the convolutions with the linear layers unchanged."""
    found = count("mm_imdb", **arguments).stages[stage]
    assert (found.parameters, found.macs) == (parameters, macs)


def test_batch_scales_macs_and_nothing_else() -> None:
    one, three = count("av_mnist"), count("av_mnist", batch=3)
    assert three.total.macs == 3 * one.total.macs
    assert three.total.parameters == one.total.parameters
    assert three.output == (3, 10)
