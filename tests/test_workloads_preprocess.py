"""Preprocessing: each step against the obvious way to do it, and every workload from raw data to output."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.fft
import scipy.signal
import torch
from torch.utils.flop_counter import FlopCounterMode

from mmsim.tracing import capture, run
from mmsim.workloads.base import get, names
from mmsim.workloads.end_to_end import HostStep
from mmsim.workloads.preprocess import tokenizer
from mmsim.workloads.preprocess.audio import STFT, SpectrogramPicture, dct, delta, mel_filters, waveform
from mmsim.workloads.preprocess.face import FaceFeatures, PatchExperts, ShapeModel, video
from mmsim.workloads.preprocess.harmony import LOWEST, ConstantQ, chroma_filters, fold_octaves
from mmsim.workloads.preprocess.hog import HOG
from mmsim.workloads.preprocess.lidar import BirdsEye, sweep
from mmsim.workloads.preprocess.mri import BrainCube
from mmsim.workloads.preprocess.mtcnn import OutputNet, ProposalNet, RefineNet, crops, pyramid
from mmsim.workloads.preprocess.picture import CAFFE_MEANS, Caffe, CentreCrop, Square, picture
from mmsim.workloads.preprocess.signals import ForceHistory, Window
from mmsim.workloads.preprocess.speech import RATE, MoseiFeatures, MustardFeatures, SpectralShape, voice_mask
from tests.workload_counts import parameters


def test_birds_eye_counts_points_as_a_histogram_does() -> None:
    points = sweep(2, points=3000)
    grid = BirdsEye(256)(points)
    assert grid.shape == (2, 2, 256, 256)
    for sample, bands in zip(points.numpy(), grid.numpy(), strict=True):
        for band, chosen in enumerate((sample[:, 2] > -2.0, sample[:, 2] <= -2.0)):
            right, ahead, _ = sample[chosen].T
            edges = np.linspace(-16, 16, 257), np.linspace(0, 32, 257)
            counts, *_ = np.histogram2d(right, ahead, bins=edges)
            expected = np.minimum(counts, 5) / 5
            np.testing.assert_allclose(bands[band], expected.T[::-1], rtol=1e-6)


def test_points_outside_the_grid_do_not_count() -> None:
    outside = torch.tensor([[[0.0, -1.0, 0.0], [0.0, 33.0, 0.0], [17.0, 1.0, 0.0], [-17.0, 1.0, 0.0]]])
    assert BirdsEye(256)(outside).sum() == 0


def test_brain_cube_is_the_obvious_crop() -> None:
    """A brain of 20 x 24 x 30 voxels, cut by a cube of 32 about its centre and standardised scan by scan."""
    volume = torch.zeros(1, 2, 60, 60, 60, dtype=torch.int16)
    brain = (slice(10, 30), slice(5, 29), slice(30, 60))
    volume[0, :, *brain] = torch.randint(1, 1000, (2, 20, 24, 30), dtype=torch.int16)
    cube = BrainCube(32)(volume)[0]
    # centres 20, 17 and 45: the cube would start at 4, 1 and 29, the last moved back to 60 - 32
    expected = volume[0, :, 4:36, 1:33, 28:60].double()
    for scan, cut in zip(expected, cube, strict=True):
        inside = scan != 0
        values = scan[inside]
        scan[inside] = (values - values.mean()) / values.std(correction=0)
        torch.testing.assert_close(cut.double(), scan, rtol=1e-4, atol=1e-5)


def test_brain_cubes_of_a_batch_are_cut_apart() -> None:
    volume = torch.zeros(2, 1, 50, 50, 50, dtype=torch.int16)
    volume[0, 0, 2:8, 2:8, 2:8] = 7
    volume[1, 0, 40:48, 40:48, 40:48] = torch.arange(1, 513, dtype=torch.int16).reshape(8, 8, 8)
    cubes = BrainCube(32)(volume)
    assert (cubes[1] != 0).sum() == 512
    torch.testing.assert_close(cubes[1:], BrainCube(32)(volume[1:]))


def test_square_keeps_a_flat_picture_flat() -> None:
    flat = torch.full((1, 960, 640, 3), 77, dtype=torch.uint8)
    out = Square(224)(flat)
    assert out.shape == (1, 3, 224, 224)
    torch.testing.assert_close(out, torch.full_like(out, 77.0))


def test_square_takes_the_middle() -> None:
    """Of a 4 x 8 picture whose middle is bright, only the middle is left."""
    wide = torch.zeros(1, 4, 8, 3, dtype=torch.uint8)
    wide[:, :, 2:6] = 200
    assert Square(2)(wide).eq(200).all()


def test_centre_crop() -> None:
    camera = picture(1, 300, 400)
    assert torch.equal(CentreCrop(256)(camera)[0, 1].byte(), camera[0, 22:278, 72:328, 1])


def test_caffe_swaps_red_and_blue() -> None:
    rgb = torch.tensor([1.0, 2.0, 3.0])[None, :, None, None]
    torch.testing.assert_close(Caffe()(rgb).flatten(), torch.tensor([3.0, 2.0, 1.0]) - torch.tensor(CAFFE_MEANS))


def test_signals() -> None:
    history = torch.randn(2, 50, 6)
    assert torch.equal(ForceHistory()(history)[1, 4], history[1, 18:, 4].tanh())
    recorded = torch.rand(2, 20, 7)
    assert torch.equal(Window(16, (7,))(recorded), (recorded[:, 4:] - 0.5) / 0.25)


@pytest.mark.parametrize(
    ("kind", "vocabulary"), [(tokenizer.bert, 30_522), (tokenizer.albert, 30_000), (tokenizer.roberta, 50_265)]
)
def test_tokenizers_have_the_true_vocabulary_and_lose_nothing(kind: tokenizer.Kind, vocabulary: int) -> None:
    known = kind()
    assert known.get_vocab_size() == vocabulary
    (sentence,) = tokenizer.sentences(1, 40)
    pieces = known.encode(sentence).tokens
    assert (pieces[0], pieces[-1]) == ("[CLS]", "[SEP]")
    assert "[UNK]" not in pieces
    assert "".join(pieces[1:-1]).translate(str.maketrans("", "", "▁Ġ#")) == sentence.replace(" ", "")


def test_tokenising_cuts_and_pads() -> None:
    step = tokenizer.tokenise("text", tokenizer.bert, batch=3, length=20, word_count=5)
    assert isinstance(step, HostStep)
    inputs = step.run()
    assert {name: tuple(x.shape) for name, x in inputs.items()} == dict.fromkeys(
        ("input_ids", "attention_mask", "token_type_ids"), (3, 20)
    )
    assert torch.equal(inputs["attention_mask"], (inputs["input_ids"] != 0).long())
    cut = tokenizer.tokenise("text", tokenizer.bert, batch=1, length=4, word_count=50).run()
    assert cut["attention_mask"].tolist() == [[1, 1, 1, 1]]


def test_stft_agrees_with_scipy_and_its_inverse_gives_the_waveform_back() -> None:
    sound = waveform(2, 22_050, 0.5)
    stft = STFT(512, 128)
    spectrum = stft(sound)
    window = scipy.signal.get_window("hann", 512)
    by_scipy = scipy.signal.ShortTimeFFT(window, 128, 22_050, phase_shift=None).stft(
        sound.numpy(), p0=0, p1=spectrum.shape[2]
    )
    np.testing.assert_allclose(spectrum.numpy(), by_scipy, atol=1e-4)
    back = stft.inverse(spectrum)
    torch.testing.assert_close(back, sound[:, : back.shape[1]], atol=1e-5, rtol=1e-5)


def test_cosine_transform_is_scipys() -> None:
    x = np.random.default_rng(0).normal(size=(40,))
    np.testing.assert_allclose(dct(40).numpy() @ x, scipy.fft.dct(x, norm="ortho"), atol=1e-5)


def test_mel_filters_peak_where_slaneys_scale_puts_them() -> None:
    """Below 1 kHz the bands lie evenly; each filter's area under its triangle is 1 hertz."""
    filters = mel_filters(22_050, 8192, bands=40)
    peaks = filters.argmax(1) * 22_050 / 8192
    steps = peaks[1:10] - peaks[:9]
    assert steps.max() - steps.min() < 2 * 22_050 / 8192
    torch.testing.assert_close(filters.sum(1) * 22_050 / 8192, torch.ones(40), atol=0.03, rtol=0)


def test_slope_of_a_ramp() -> None:
    ramp = 3.0 * torch.arange(30.0).expand(1, 2, 30)
    torch.testing.assert_close(delta(ramp)[:, :, 4:-4], torch.full((1, 2, 22), 3.0))


def test_spectrogram_of_a_tone_is_a_line() -> None:
    """1 kHz of 4 kHz is a quarter of the way up a picture whose first row is 0 Hz."""
    tone = (2 * math.pi * 1000 * torch.arange(3600) / 8000).sin()[None]
    picture = SpectrogramPicture()(tone)
    assert picture.shape == (1, 1, 112, 112)
    assert (picture.amin(), picture.amax()) == (0, 1)
    assert abs(picture[0, 0, :, 20:90].mean(1).argmax() - 28) <= 1


@pytest.mark.parametrize(("hertz", "note"), [(261.63, 0), (440.0, 9), (987.77, 11)])
def test_a_tone_is_its_note_in_both_chromas(hertz: float, note: int) -> None:
    tone = (2 * math.pi * hertz * torch.arange(RATE) / RATE).sin()[None]
    tones = ConstantQ(RATE, 128)(tone)
    assert tones.shape == (1, 252, 173)
    assert round(36 * math.log2(hertz / LOWEST)) == tones.mean(2).argmax()
    assert fold_octaves(tones).mean(2).argmax() == note
    power = STFT(4096, 128)(tone).abs().square()
    assert (chroma_filters(RATE, 4096) @ power).mean(2).argmax() == note


def test_shape_of_a_spectrum_by_hand() -> None:
    """All of the magnitude in bin 10 of 257: the centroid and the roll-off lie there, nothing spreads."""
    spectrum = torch.zeros(1, 257, 3)
    spectrum[:, 10] = 2.0
    centroid, bandwidth, *_, rolloff, slope, level = SpectralShape(512)(spectrum)[0, :, 0]
    bin_10 = 10 * RATE / 512
    assert centroid == pytest.approx(bin_10)
    assert bandwidth == pytest.approx(0, abs=1e-2)
    assert rolloff == pytest.approx(bin_10)
    expected = np.polyfit(np.arange(257) / 256, spectrum[0, :, 0].numpy(), 1)
    np.testing.assert_allclose((slope, level), expected, rtol=1e-2)


def test_voice_mask_takes_off_what_repeats() -> None:
    """A steady hum in bin 3 goes; a burst in bin 7, which no other frame has, stays."""
    magnitude = torch.full((1, 16, 60), 1e-3)
    magnitude[:, 3] = 1.0
    magnitude[:, 7, 30] = 1.0
    mask = voice_mask(magnitude, apart=5)
    assert mask[0, 3].max() < 0.01
    assert mask[0, 7, 30] > 0.99


@pytest.mark.parametrize(
    ("module", "shape"),
    [(MoseiFeatures(7), (2, 7, 74)), (MustardFeatures(7), (2, 7, 283)), (MustardFeatures(None), (2, 283))],
)
def test_speech_features(module: torch.nn.Module, shape: tuple[int, ...]) -> None:
    out = module(waveform(2, RATE, 5.2))
    assert out.shape == shape
    assert out.isfinite().all()


def macs(module: torch.nn.Module, *shape: int) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module.to("meta")(torch.empty(shape, device="meta"))
    return counter.get_total_flops() // 2


def test_sizes_of_the_face_networks() -> None:
    """MTCNN's and OpenFace's published sizes; the pyramid of a 624x352 frame has seven levels and 59.6 MMACs."""
    assert [parameters(m) for m in (ProposalNet(), RefineNet(), OutputNet())] == [6_632, 100_178, 389_040]
    assert parameters(PatchExperts()) == 68 * 181_401
    assert macs(RefineNet(), 1, 3, 24, 24) == 1_530_768
    assert macs(OutputNet(), 1, 3, 48, 48) == 12_909_952
    assert macs(PatchExperts(), 1, 68, 19, 19) == 68 * 81 * (121 * 500 + 500 * 200 + 200 * 100 + 100)
    scales = pyramid(352, 624)
    assert len(scales) == 7
    total = sum(macs(ProposalNet(), 1, 3, int(352 * s), int(624 * s)) for s in scales)
    assert f"{total / 1e6:.1f}" == "59.6"


def test_crops_are_what_lies_in_the_box() -> None:
    picture = torch.arange(20.0 * 30).reshape(1, 1, 20, 30)
    cut = crops(picture, torch.tensor([[[4.0, 6.0, 8.0, 8.0]]]), 8)
    torch.testing.assert_close(cut[0, 0], picture[0, 0, 6:14, 4:12])


def test_shape_model_finds_a_face_that_moved_and_grew() -> None:
    """Fitting the points of a face 5 % larger, 3 pixels to the right, gives them back to a tenth of a pixel."""
    torch.manual_seed(0)
    model = ShapeModel()
    start = model.start(torch.tensor([[100.0, 50.0, 80.0, 80.0]]))
    target = model.start(torch.tensor([[103.0 - 2, 50.0 - 2, 84.0, 84.0]]))
    seen = model(target)[:, :2]
    found = start
    for _ in range(10):
        found = model.updated(found, seen - model(found)[:, :2])
    assert (model(found)[:, :2] - seen).abs().max() < 0.1
    assert (model(start)[:, :2] - seen).abs().max() > 1


def test_hog_of_an_edge() -> None:
    """A vertical edge, dark to light, is the direction of 0 degrees in the cells that it crosses."""
    picture = torch.zeros(1, 1, 48, 48)
    picture[..., 24:] = 1.0
    cells = HOG(8)(picture).reshape(31, 4, 4)
    assert cells[:18].sum((1, 2)).argmax() == 0
    assert (cells[:, :, 0] == 0).all() and (cells[0, :, 1:3] > 0).all()


def test_face_features_have_openfaces_columns() -> None:
    features = FaceFeatures().eval()
    frames = video(1, 2, 200, 240)
    with torch.no_grad():
        out, mean = features(frames), FaceFeatures(mean=True).eval()(frames)
    assert out.shape == (1, 2, 713) and mean.shape == (1, 713)
    assert out.isfinite().all()
    assert out[0, :, 1].tolist() == [0, 1]  # the time


SMALL = {
    "cmu_mosei": {"length": 2}, "medical_seg": {"cube": 32}, "mm_imdb": {"length": 16},
    "mustard": {"length": 2, "frames": 2}, "medical_vqa": {"length": 8, "answer": 2},
}  # fmt: skip


def but_slow(*slow: str) -> list[Any]:
    """All workloads, some of them marked slow."""
    return [pytest.param(name, marks=[pytest.mark.slow] if name in slow else []) for name in names()]


@pytest.mark.parametrize("workload", but_slow("medical_vqa", "cmu_mosei"))
def test_from_raw_data_to_output(workload: str) -> None:
    """Preprocessing gives what the network is given without it: the same names, shapes and formats."""
    small = SMALL.get(workload, {})
    network = get(workload).network(end_to_end=True, **small)
    plain = get(workload).network(**small)
    out, expected = network(), plain()
    assert out.shape == expected.shape
    assert out.isfinite().all()
    made = {name: tuple(x.shape) for step in network.host for name, x in step.run().items()}
    raw = {name: x for name, x in network.inputs.items() if name not in plain.inputs}
    assert {step.modality for step in network.host} | set(network.module.preprocess) and (made or raw)
    for path, stage in network.stages.items():
        assert path.startswith("preprocess.") == stage.startswith("preprocess:")


@pytest.mark.parametrize("workload", but_slow("medical_vqa", "cmu_mosei", "mustard"))
def test_preprocessed_inputs_fit_every_variant(workload: str) -> None:
    """What each step makes has the shape of the input that it stands for, whatever the variant."""
    for arguments in get(workload).variants().values():
        small = {**SMALL.get(workload, {}), **{k: v for k, v in arguments.items() if k in get(workload).knobs}}
        options = {k: v for k, v in arguments.items() if k in ("fusion", "modality")}
        with torch.device("meta"):
            network = get(workload).network(**options, **small, end_to_end=True)
            plain = get(workload).network(**options, **small)
        module = network.module
        for modality, (raw, gives) in module.steps.items():
            made = module.preprocess[modality](torch.float32, *(network.inputs[name].to("meta") for name in raw))
            for name, x in zip(gives, made, strict=True):
                assert (x.shape, x.dtype) == (plain.inputs[name].shape, plain.inputs[name].dtype)
        for step in network.host:
            assert all(x.shape == plain.inputs[name].shape for name, x in step.run().items())


@pytest.mark.parametrize("workload", ["av_mnist", "transfuser", "vision_touch"])
def test_preprocessing_stays_single_in_a_half_network(workload: str) -> None:
    """As `measure` casts them: module and raw data in half precision; the result is near that of single precision."""
    network = get(workload).network(end_to_end=True)
    expected = network()
    half = network.module.to(torch.bfloat16)
    inputs = {k: x.bfloat16() if x.is_floating_point() else x for k, x in network.inputs.items()}
    with torch.no_grad():
        out = half(**inputs)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), expected, atol=0.1, rtol=0.1)
    assert {x.dtype for x in half.preprocess.buffers()} <= {torch.float32}


@pytest.mark.parametrize(
    ("workload", "small"),
    [("transfuser", {}), pytest.param("mustard", {"length": 2}, marks=pytest.mark.slow), ("medical_seg", {"cube": 32})],
)
def test_captured_graph_holds_for_other_raw_data(workload: str, small: dict[str, int]) -> None:
    """Nothing that the traced data happened to be, such as where the brain lies, is frozen into the graph."""
    network = get(workload).network(end_to_end=True, **small)
    captured = capture(network.module, network.inputs)
    other = {name: x.roll(20, -2) if x.dtype in (torch.int16, torch.uint8) else x for name, x in network.inputs.items()}
    with torch.no_grad():
        expected = network.module(**other)
    assert torch.equal(run(captured, other), expected)
    assert not torch.equal(network(), expected)
