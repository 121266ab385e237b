"""How well the phrases of a test split's captions are found."""

from pathlib import Path
from typing import Any, cast

from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch.utils.data import DataLoader

from gdino_lightning.data.batch import Sample
from gdino_lightning.data.dataset import DetectionDataset
from gdino_lightning.data.grounding import read_captions
from gdino_lightning.data.loaders import evaluation_loaders
from gdino_lightning.data.pictures import read_split
from gdino_lightning.data.source import TEST
from gdino_lightning.data.table import CAPTIONS_NAME
from gdino_lightning.errors import ConfigError
from gdino_lightning.evaluation.protocols.refcoco import PhraseAccuracy
from gdino_lightning.evaluation.protocols.table import score_row
from gdino_lightning.prompt import PromptBatch
from gdino_lightning.training.steps import DetectionSteps


class PhraseScore(Callback):
    """Logs `test/refcoco/acc@1`, `acc@5` and `acc@10` of the captions beside the test split's table.

    Attributes:
        scores: The numbers of the newest test by name.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scores: dict[str, float] = {}
        self._loader: DataLoader[list[Sample]] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Read the captions, so that what is wrong with them shows before any step.

        Raises:
            ConfigError: There are none.
            DatasetError: They cannot be used.
            PromptError: One is too long or a phrase of it unknown.
        """
        settings = cast(LightningDataModule, trainer.datamodule).hparams  # type: ignore[attr-defined]  # set by a connector
        folder = Path(settings["root"]) / TEST
        captions = read_captions(folder, read_split(folder))
        if not captions:
            raise ConfigError(
                f"{folder / CAPTIONS_NAME}: no caption; --protocol refcoco scores those of the test split"
            )
        cast(DetectionSteps, pl_module).questioner.check({each.place: each.caption for each in captions})
        dataset = DetectionDataset([], [], captions=captions)
        self._loader = evaluation_loaders(settings).for_evaluation(dataset, dataset.sizes)

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Score before the first batch."""
        if batch_idx == 0:
            self.scores = self._score(trainer, cast(DetectionSteps, pl_module))
            for name, value in self.scores.items():
                pl_module.log(f"test/refcoco/{name}", value, batch_size=1, sync_dist=True)  # equal on all ranks already

    def _score(self, trainer: Trainer, module: DetectionSteps) -> dict[str, float]:
        metric = PhraseAccuracy().to(module.device)
        with trainer.precision_plugin.forward_context():
            for batch in cast(DataLoader[list[Sample]], self._loader):
                here = move_data_to_device(batch, module.device)
                captions = [target.caption for target in here.targets]
                prompts = [module.questioner.caption_prompt(caption) for caption in captions]
                metric.update(module.detect(here, PromptBatch.of(prompts)), here.targets)
        scores: dict[str, float] = metric.compute()
        return scores

    def table(self) -> str:
        """The numbers in percent, as papers have them."""
        return score_row(f"refcoco, by {CAPTIONS_NAME} of the test split", self.scores)
