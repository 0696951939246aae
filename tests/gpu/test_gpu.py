"""What only a GPU can show: equal results, tolerances of bf16, compilation, memory. Run by `make gpu-check`."""

import copy
import json
from contextlib import contextmanager

import pytest
import torch

from speechunits.asr.recognizer import build_recognizer
from speechunits.asr.tokens import build_tokenizer
from speechunits.config import EncoderConfig, FinetuneConfig, MaskConfig, PretrainConfig, Wav2Vec2Config
from speechunits.encoder.dropout import Dropout
from speechunits.encoder.encoder import Encoder
from speechunits.encoder.masking import span_mask
from speechunits.frames import frame_count, frame_counts
from speechunits.learners.wav2vec2 import Wav2Vec2Learner
from speechunits.objectives.wav2vec2 import contrastive_loss, sample_negatives
from tests.engine.step import Step
from tests.engine.tiny import TinyLearner, make_corpus, run, same, weights
from tests.learners.tiny import VARIANTS, build
from tests.learners.tiny import batch as spoken

pytestmark = pytest.mark.gpu
LENGTHS = torch.tensor([48_080, 31_000, 400])


@pytest.fixture
def cuda(monkeypatch):
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    # fp32 means fp32: TF32 convolutions have ten bits.
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    return torch.device("cuda")


def encoder_config(frontend, **fields):
    return EncoderConfig(**{**EncoderConfig.PRESETS["small"], "size": "small", "frontend": frontend, "dropout": 0.0,
                            **fields})  # fmt: skip


def batch():
    generator = torch.Generator().manual_seed(0)
    waveforms = 0.1 * torch.randn(3, int(LENGTHS[0]), generator=generator)
    mask = span_mask(frame_counts(LENGTHS), frame_count(waveforms.shape[1]), MaskConfig(), generator)
    return waveforms, mask


def encode(encoder, device, dtype=torch.float32):
    waveforms, mask = batch()
    with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
        output = encoder(waveforms.to(device), LENGTHS.to(device), mask=mask.to(device)).output
    output.float().square().mean().backward()
    gradients = {name: p.grad.cpu() for name, p in encoder.named_parameters() if p.grad is not None}
    return output.detach().float().cpu(), gradients


def relative(one, other):
    return float((one - other).norm() / other.norm().clamp_min(1e-12))


@pytest.fixture(params=["logmel", "waveform"])
def pair(request, cuda):
    torch.manual_seed(0)
    encoder = Encoder(encoder_config(request.param))
    return encoder, copy.deepcopy(encoder).to(cuda)


def test_fp32_equals_the_processor(pair, cuda):
    here, gradients = encode(pair[0], torch.device("cpu"))
    there, other = encode(pair[1], cuda)
    assert relative(there, here) < 1e-4
    assert gradients.keys() == other.keys()
    large = {name: value for name, value in gradients.items() if value.norm() > 1e-6}
    assert max(relative(other[name], value) for name, value in large.items()) < 1e-2


def test_bf16_stays_near_fp32(pair, cuda):
    exact, _ = encode(copy.deepcopy(pair[1]), cuda)
    rounded, gradients = encode(pair[1], cuda, torch.bfloat16)
    assert relative(rounded, exact) < 3e-2
    assert all(value.isfinite().all() for value in gradients.values())


def test_compiled_equals_eager(pair, cuda):
    eager, _ = encode(copy.deepcopy(pair[1]), cuda)
    compiled, _ = encode(torch.compile(pair[1], dynamic=False), cuda)
    assert relative(compiled, eager) < 1e-3


def test_losses_agree_in_evaluation(cuda):
    # The generators of the two devices differ: the same masked frames and negatives are handed to both.
    generator = torch.Generator().manual_seed(1)
    context, targets = torch.randn(2, 4, 300, 128, generator=generator)
    valid = torch.arange(300)[None] < torch.tensor([300, 200, 2, 0])[:, None]
    negatives = sample_negatives(valid.sum(1), 300, 100, generator)
    same_codes = torch.rand(negatives.shape, generator=generator) < 0.1
    losses = [
        contrastive_loss(context.to(d), targets.to(d), negatives.to(d), valid.to(d), temperature=0.1,
                         same=same_codes.to(d), mask_same=True).sum
        for d in ("cpu", "cuda")
    ]  # fmt: skip
    assert float(losses[1]) == pytest.approx(float(losses[0]), rel=1e-5)


def test_the_contrast_never_holds_a_vector_for_each_negative(cuda):
    rows, masked, negatives, dim = 16, 400, 100, 256
    context, targets = (torch.randn(rows, masked, dim, device=cuda, requires_grad=True) for _ in range(2))
    valid = torch.ones(rows, masked, dtype=torch.bool, device=cuda)
    generator = torch.Generator(device=cuda).manual_seed(0)
    chosen = sample_negatives(valid.sum(1), masked, negatives, generator)
    torch.cuda.reset_peak_memory_stats(cuda)
    before = torch.cuda.memory_allocated(cuda)
    loss = contrastive_loss(context, targets, chosen, valid, temperature=0.1, same=chosen < 0, mask_same=True)
    loss.sum.backward()
    assert torch.cuda.max_memory_allocated(cuda) - before < rows * masked * negatives * dim * 4 / 4


def test_a_step_of_base_fits_with_room(cuda):
    config = PretrainConfig(encoder=EncoderConfig(**EncoderConfig.PRESETS["base"], size="base"))
    learner = Wav2Vec2Learner(config.encoder, config.mask, Wav2Vec2Config()).to(cuda)
    from benchmarks.pretrain import noise

    torch.cuda.reset_peak_memory_stats(cuda)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        loss = learner(noise(80.0, 10.0, cuda))
    (loss.sum / loss.count).backward()
    assert torch.isfinite(loss.sum)
    assert torch.cuda.max_memory_allocated(cuda) < 16e9


def test_the_engine_trains_and_resumes(cuda, tmp_path):
    corpus, held_out = make_corpus(tmp_path / "c"), make_corpus(tmp_path / "h", 3, seed=1, prefix="h")
    whole, first, second = TinyLearner(), TinyLearner(), TinyLearner(seed=7)
    result = run(whole, tmp_path / "whole", corpus, held_out)
    losses = [json.loads(line)["loss"] for line in result.history.read_text().splitlines() if '"train"' in line]
    assert losses[-1] < losses[0]
    run(first, tmp_path / "parts", corpus, held_out)
    run(second, tmp_path / "parts", corpus, held_out)  # finished already: it only loads
    assert same(weights(first), weights(second))
    # Sums on a GPU have no fixed order.
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(first)[name], value, rtol=1e-3, atol=1e-4)


def test_units_of_a_gpu_are_those_of_the_processor(cuda):
    from speechunits.config import to_tree
    from speechunits.units.units import CENTROIDS, Units

    torch.manual_seed(0)
    encoder = Encoder(encoder_config("logmel")).eval()
    tensors = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    settings = {"source": "kmeans", "layer": 3, "clusters": 20, "precision": "fp32", "smooth": 3}
    header = {"kind": "units", "encoder": to_tree(encoder.config), "units": settings}
    waveform = 0.1 * torch.randn(25 * 16_000, generator=torch.Generator().manual_seed(1)).numpy()
    draft = Units({**tensors, CENTROIDS: torch.zeros(20, encoder.config.dim)}, header)
    centroids = torch.from_numpy(draft.extractor.features(waveform)[::60][:20].copy())
    expected = Units({**tensors, CENTROIDS: centroids}, header).units(waveform)
    there = Units({**tensors, CENTROIDS: centroids}, header).to("cuda")
    found = there.units(waveform)
    assert (found == expected).mean() > 0.999
    assert (found == there.units(waveform)).all()


@contextmanager
def synchronisation(mode):
    """Let torch do this about whoever waits for the GPU within the context."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode(mode)
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


class WaitingCtc(torch.autograd.Function):
    """torch's CTC, which has its lengths on the host, forward and backward: both in one place, where it may wait."""

    @staticmethod
    def forward(ctx, log_probabilities, original, arguments, options):
        with synchronisation("default"), torch.enable_grad():
            inputs = log_probabilities.detach().requires_grad_()
            losses = original(inputs, *arguments, **options)
            ctx.save_for_backward(torch.autograd.grad(losses.sum(), inputs)[0])
            return losses.detach()

    @staticmethod
    def backward(ctx, gradient):
        return ctx.saved_tensors[0] * gradient[None, :, None], None, None, None


def steps_without_waiting(learner, item, cuda):
    """Take three steps, the last two of which may not wait; the first one chooses kernels and starts codebooks."""
    for module in learner.modules():
        if isinstance(module, Dropout):
            module.probability = 0.1
    step, item = Step(learner.to(cuda), torch.bfloat16), item.to(cuda)
    step(item)
    before = weights(step.learner)
    with synchronisation("error"):
        for _ in range(2):
            step(item)
    step.guard.verdicts.settle()
    assert step.journal.skipped_batches == 0
    assert not same(weights(step.learner), before)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_a_step_waits_for_nothing(variant, cuda):
    steps_without_waiting(build(variant), spoken(9000, 7000), cuda)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("side", ["logmel", "untrained"])
def test_a_step_of_a_recogniser_waits_in_its_ctc_alone(side, cuda, monkeypatch):
    original = torch.nn.functional.ctc_loss
    monkeypatch.setattr(
        torch.nn.functional, "ctc_loss",
        lambda inputs, *arguments, **options: WaitingCtc.apply(inputs, original, arguments, options),
    )  # fmt: skip
    config = FinetuneConfig(side=side, encoder=build("masked_prediction").encoder.config, frozen=0.0)
    recognizer = build_recognizer(config, build_tokenizer(["ab ba"], "characters", 10))
    tokens = {"tokens": torch.tensor([[1, 2], [2, 0]]), "token_lengths": torch.tensor([2, 1])}
    steps_without_waiting(recognizer, spoken(9000, 7000)._replace(**tokens), cuda)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_waiting_is_refused(cuda):
    with synchronisation("error"), pytest.raises(RuntimeError, match="synchroniz"):
        torch.ones((), device=cuda).item()
