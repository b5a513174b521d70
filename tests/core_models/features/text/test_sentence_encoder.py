"""Words to a vector: the encoder, its adapter, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny_encoder import tiny_encoder

from core_models.errors import CheckpointError, WeightsError
from core_models.features.text.sentence_encoder import PastTurn, TextFeature, load_encoder
from core_models.labels import MELD7
from core_models.text_adapter import AdapterSidecar

TEXTS = ["You had your hands full.", "What?!", "I'm so happy for you, this is the best day of my life!"]
SHIPPED = Path(__file__).parents[4] / "core_models" / "weights" / "text-minilm-emotion"


def tiny_adapter(folder: Path, base: Path, seed: int = 1) -> Path:
    """A rank-2 adapter for every linear layer of `base`."""
    encoder = load_encoder(base)
    layers = {n: m for n, m in encoder.network.named_modules() if isinstance(m, torch.nn.Linear)}
    chance = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, layer in layers.items():
        tensors[f"{name}.lora_A"] = torch.randn(2, layer.in_features, generator=chance).half()
        tensors[f"{name}.lora_B"] = torch.randn(layer.out_features, 2, generator=chance).half()
    sidecar = AdapterSidecar(
        base=base.name, base_digest=encoder.digest, rank=2, alpha=4.0, targets=list(layers), labels="meld7"
    )
    folder.mkdir()
    save_file(tensors, folder / "adapter.safetensors")
    (folder / "sidecar.json").write_bytes(msgspec.json.encode(sidecar))
    return folder


@pytest.mark.parametrize("kind", ["bert", "mpnet"])
def test_vectors_are_the_mean_over_tokens_of_the_hub_s_own_model(tmp_path: Path, kind: str) -> None:
    """A text's vector is the mean of what the hub's model gives for its tokens, padding left out."""
    from transformers import AutoModel

    feature = TextFeature(tiny_encoder(tmp_path / "tiny", kind))
    model = AutoModel.from_pretrained(tmp_path / "tiny", local_files_only=True).eval()
    vectors = feature(TEXTS)
    assert vectors.shape == (3, 16) == (3, feature.spec.dimension)
    assert vectors.dtype == np.float32
    for text, vector in zip(TEXTS, vectors, strict=True):
        ids = torch.tensor([feature._encoder.tokenizer.encode(text).ids])
        with torch.no_grad():
            expected = model(input_ids=ids).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(vector, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "mpnet"])
def test_a_vector_does_not_depend_on_its_neighbours(tmp_path: Path, kind: str) -> None:
    """A live run's single line and extraction's batch of lines give the same vector."""
    feature = TextFeature(tiny_encoder(tmp_path / "tiny", kind))
    together = feature(TEXTS * 20)
    for index, text in enumerate(TEXTS):
        np.testing.assert_allclose(feature([text])[0], together[index], atol=1e-5)


def test_typographic_marks_change_nothing(tmp_path: Path) -> None:
    """A line as a script prints it and as a recogniser writes it have one vector."""
    feature = TextFeature(tiny_encoder(tmp_path / "tiny"))
    printed, recognised = feature(["I’m so happy…", "I'm so happy..."])
    np.testing.assert_array_equal(printed, recognised)


def test_long_and_empty_texts_have_vectors(tmp_path: Path) -> None:
    """A text beyond the token limit is cut there, an empty one is finite, and no texts give no rows."""
    feature = TextFeature(tiny_encoder(tmp_path / "tiny"), max_tokens=8)
    np.testing.assert_array_equal(*feature(["you had " * 50, "you had " * 3]))
    assert np.isfinite(feature([""])).all()
    assert feature([]).shape == (0, 16)


def test_the_past_stands_before_the_words_and_is_not_pooled(tmp_path: Path) -> None:
    """With a context, a vector is the mean over the utterance's own tokens of what the network gives for both."""
    base = tiny_encoder(tmp_path / "tiny")
    adapter = tiny_adapter(tmp_path / "feeling", base)
    sidecar = json.loads((adapter / "sidecar.json").read_text())
    (adapter / "sidecar.json").write_text(json.dumps(sidecar | {"context": 6}))
    feature = TextFeature(base, adapter=adapter)
    past = [PastTurn(False, "this is the best day"), PastTurn(True, "what ?")]
    (row,) = feature.rows([TEXTS[0]], [past])
    encode = feature._encoder.tokenizer.encode
    both = encode("you: this is the best day").ids[1:-1] + encode("me: what ?").ids[1:-1]
    assert row.ids == [2, *both[-6:], 3, *encode(TEXTS[0]).ids[1:]]
    with torch.no_grad():
        hidden = feature._encoder.network(input_ids=torch.tensor([row.ids])).last_hidden_state[0]
    np.testing.assert_allclose(feature([TEXTS[0]], [past])[0], hidden[row.start :].mean(0).numpy(), atol=1e-5)
    assert row.start == 8
    assert np.abs(feature([TEXTS[0]], [past]) - feature([TEXTS[0]])).max() > 1e-3
    assert feature.spec != TextFeature(base, adapter=tiny_adapter(tmp_path / "other", base)).spec


def test_adapter_adds_its_product_to_the_weights(tmp_path: Path) -> None:
    """Each adapted weight is the base's plus alpha / rank * B A, and the spec tells the two features apart."""
    base = tiny_encoder(tmp_path / "tiny")
    adapter = tiny_adapter(tmp_path / "feeling", base)
    plain, adapted = TextFeature(base), TextFeature(base, adapter=adapter)
    name = "encoder.layer.1.output.dense"
    factors = load_file(adapter / "adapter.safetensors")
    change = 2.0 * factors[f"{name}.lora_B"].float() @ factors[f"{name}.lora_A"].float()
    before = plain._encoder.network.get_submodule(name).weight
    after = adapted._encoder.network.get_submodule(name).weight
    torch.testing.assert_close(after, before + change)
    assert adapted.spec.digest != plain.spec.digest
    assert adapted.spec.settings["adapter"] == adapted.spec.name == "feeling"
    assert adapted.spec.settings["base"] == "tiny"


def test_digest_follows_the_tensors_of_base_and_adapter(tmp_path: Path) -> None:
    """Equal tensors give an equal digest; another adapter, or another scale of the same one, gives another."""
    base = tiny_encoder(tmp_path / "tiny")
    one, same, other, louder = (
        tiny_adapter(tmp_path / name, base, seed) for name, seed in (("a", 1), ("b", 1), ("c", 2), ("d", 1))
    )
    sidecar = json.loads((louder / "sidecar.json").read_text())
    (louder / "sidecar.json").write_text(json.dumps(sidecar | {"alpha": 8.0}))
    digests = [TextFeature(base, adapter=adapter).spec.digest for adapter in (one, same, other, louder)]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    """An adapter is refused by a base whose tensors are not those that it was trained on, in one sentence."""
    adapter = tiny_adapter(tmp_path / "feeling", tiny_encoder(tmp_path / "tiny"))
    other = tiny_encoder(tmp_path / "other", seed=5)
    with pytest.raises(CheckpointError, match="feeling belongs to tiny .* not to other"):
        TextFeature(other, adapter=adapter)


def test_damaged_adapter_is_refused(tmp_path: Path) -> None:
    """A missing tensor, a truncated file, an unknown sidecar key and a missing folder each end in one sentence."""
    base = tiny_encoder(tmp_path / "tiny")
    adapter = tiny_adapter(tmp_path / "feeling", base)
    whole, sidecar = (adapter / "adapter.safetensors").read_bytes(), (adapter / "sidecar.json").read_text()
    tensors = load_file(adapter / "adapter.safetensors")
    del tensors["encoder.layer.0.output.dense.lora_B"]
    save_file(tensors, adapter / "adapter.safetensors")
    with pytest.raises(CheckpointError, match=r"disagree about encoder\.layer\.0\.output\.dense\.lora_B"):
        TextFeature(base, adapter=adapter)
    (adapter / "adapter.safetensors").write_bytes(whole[:-100])
    with pytest.raises(CheckpointError, match="is not a text adapter"):
        TextFeature(base, adapter=adapter)
    (adapter / "adapter.safetensors").write_bytes(whole)
    (adapter / "sidecar.json").write_text(json.dumps(json.loads(sidecar) | {"colour": "blue"}))
    with pytest.raises(CheckpointError, match="colour"):
        TextFeature(base, adapter=adapter)
    with pytest.raises(CheckpointError, match="is not a text adapter"):
        TextFeature(base, adapter=tmp_path / "nowhere")


def test_folder_without_an_encoder_is_refused(tmp_path: Path) -> None:
    """An absent folder, another architecture and weights that lack a tensor each end in one sentence."""
    with pytest.raises(WeightsError, match="make weights"):
        TextFeature(tmp_path / "nowhere")
    base = tiny_encoder(tmp_path / "tiny")
    settings = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(settings | {"model_type": "gpt2"}))
    with pytest.raises(WeightsError, match="neither bert nor mpnet"):
        TextFeature(base)
    (base / "config.json").write_text(json.dumps(settings | {"num_hidden_layers": 3}))
    with pytest.raises(WeightsError, match=r"lacks encoder\.layer\.2"):
        TextFeature(base)


@pytest.mark.weights
def test_shipped_adapter_hears_the_feeling() -> None:
    """The shipped adapter fits the base in the manifest and its own classifier names plain emotions."""
    from core_models.assets import model_folder

    feature = TextFeature(model_folder("minilm-l6"), adapter=SHIPPED)
    head = load_file(SHIPPED / "adapter.safetensors")
    vectors = feature(["I am so happy for you!", "I'm so sorry, he died.", "How dare you! Get out!", "Oh my God!"])
    logits = vectors @ head["classifier.weight"].float().numpy().T + head["classifier.bias"].float().numpy()
    assert [MELD7.labels[i] for i in logits.argmax(1)] == ["joy", "sadness", "anger", "surprise"]
    assert feature.spec.dimension == 384
