"""A sentence encoder under a low-rank adapter (LoRA, Hu et al., 2021), with a classifier for each label set."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from core_models.features.text.sentence_encoder import Encoder, Row
from core_models.labels import LabelSet
from train.recipes.text.config import TextConfig
from train.recipes.text.low_rank import truncate_rank

# What stands before a layer's number in the names of BERT's and MPNet's modules.
_LAYER = ".layer."


class EmotionClassifier(nn.Module):
    """Encoder with a low-rank change (LoRA) to the linear layers of its top layers, and a classifier a label set."""

    def __init__(self, encoder: Encoder, config: TextConfig, label_sets: Sequence[LabelSet]) -> None:
        super().__init__()
        from peft import LoraConfig, inject_adapter_in_model

        linear = [name for name, module in encoder.network.named_modules() if isinstance(module, nn.Linear)]
        self.targets = top_layers(linear, config.layers)
        encoder.network.requires_grad_(False)
        lora = LoraConfig(
            r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=self.targets
        )
        self.network = inject_adapter_in_model(lora, encoder.network)
        self.encoder = encoder
        self.dropout = nn.Dropout(config.dropout)
        self.classifiers = nn.ModuleDict(
            {labels.name: nn.Linear(encoder.dimension, len(labels)) for labels in label_sets}
        )

    def forward(self, rows: Sequence[Row], labels: str) -> Tensor:
        """Logits [len(rows), classes] over the label set of that name."""
        logits: Tensor = self.classifiers[labels](self.dropout(self.encoder.pool(rows)))
        return logits

    def trained(self) -> dict[str, Tensor]:
        """Every tensor that training changes, under the name that an adapter file gives it."""
        return {
            name.removeprefix("network.").replace(".default.weight", ""): value.detach()
            for name, value in self.named_parameters()
            if value.requires_grad
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Sets what `trained` returned."""
        for name, value in self.trained().items():
            value.copy_(tensors[name])

    def truncate_rank(self, rank: int) -> None:
        """Cuts every change to `rank` (see train/recipes/text/low_rank.py)."""
        tensors = self.trained()
        for target in self.targets:
            down, up = f"{target}.lora_A", f"{target}.lora_B"
            tensors[down], tensors[up] = truncate_rank(tensors[down], tensors[up], rank)
        self.restore(tensors)

    def adapter(self, labels: str, rank: int) -> dict[str, Tensor]:
        """What an adapter file holds, float16: the first `rank` rows and columns of the factors, and the classifier of
        that label set as `classifier`."""
        head = f"classifiers.{labels}."
        held = {
            name.replace(head, "classifier."): value
            for name, value in self.trained().items()
            if name.startswith(head) or not name.startswith("classifiers.")
        }
        held |= {name: value[:rank] for name, value in held.items() if name.endswith(".lora_A")}
        held |= {name: value[:, :rank] for name, value in held.items() if name.endswith(".lora_B")}
        return {name: value.cpu().half().contiguous() for name, value in held.items()}


def top_layers(linear: Sequence[str], layers: int | None) -> list[str]:
    """Of the linear layers' names, those of the `layers` topmost transformer layers; all where it is None."""
    if layers is None:
        return list(linear)
    numbers = {name: int(name.split(_LAYER)[1].split(".")[0]) for name in linear if _LAYER in name}
    highest = max(numbers.values())
    return [name for name, number in numbers.items() if number > highest - layers]
