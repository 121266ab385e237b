"""The data module: tables and pictures on disk in, loaders of typed batches of one canvas each out."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from gdino_lightning.data.batch import Sample
from gdino_lightning.data.canvas import Sizing
from gdino_lightning.data.dataset import Demand, DetectionDataset
from gdino_lightning.data.download import fetched
from gdino_lightning.data.grounding import GroundedPicture, scan_captions
from gdino_lightning.data.identity import check_same_data, identity_of
from gdino_lightning.data.loaders import CanvasLoaders, check_at_least, refuse_overfit_batches
from gdino_lightning.data.mixed import MixedSet, ReadSet, read_mixed
from gdino_lightning.data.parts import Parts, Val
from gdino_lightning.data.pictures import Picture, pack_split, scan_split
from gdino_lightning.data.prepare import prepare
from gdino_lightning.data.publish import finish_preparation
from gdino_lightning.data.sample import draw_sample
from gdino_lightning.data.source import SPLITS
from gdino_lightning.data.table import CAPTIONS_NAME, TABLE_NAME
from gdino_lightning.data.transforms import Augmentation
from gdino_lightning.errors import ConfigError, DatasetError, Problems, listed
from gdino_lightning.files import refuse_unwritable
from gdino_lightning.lock import hold
from gdino_lightning.prompt.captions import Caption

SAMPLE = "sample"  # the value of `source` that asks for the drawn dataset
AUGMENTATION = Augmentation()

logger = logging.getLogger(__name__)


class DetectionDataModule(LightningDataModule):
    """Pictures and boxes of `root/train` and `root/test` as batches of one canvas each.

    Where `root/train` holds `captions.jsonl`, each of its lines is one more training sample. A picture that has
    a caption and no row in the table is trained with the caption alone: what of the classes it shows is not
    known, so it is no negative. Validation and test use the table alone, and captions of pictures held out for
    validation are left out.

    Args:
        root: folder with `train/` and `test/`, made from `source` where it is missing.
        phrases: class name -> wording, or class names; linked from the model, which owns them. The order
            gives the class indices.
        source: folder or zip that `gdino prepare` accepts, kaggle:owner/name, which is downloaded, or "sample" to draw
            the sample dataset beside `root`.
        num_train: pictures that `prepare` puts into train; the rest is the test split.
        split_seed: seed of that split.
        val: fraction of the training pictures held out for validation, "val" to validate on `root/val`, or "test"
            to validate on the test split; null for `root/val` where there is one, else 0.1.
        val_seed: seed of the held-out part.
        val_split: how it is drawn: `stratified`, with its share of every class's boxes, so that rare classes
            are there to calibrate on, or `random`.
        batch_size: pictures in a training batch.
        eval_batch_size: pictures in an evaluation batch; null for `batch_size`.
        short_side: px that the short side of a picture becomes.
        long_side_max: px that the long side does not exceed.
        canvas_multiple: px; canvas sides are multiples of it.
        train_short_sides: short sides that training batches draw from; null for `short_side` alone. The
            longest long side keeps its ratio to each.
        augmentation: probabilities of the training augmentations; null for none.
        num_workers: processes that load pictures; 0 loads in the main process.
        pin_memory: load into page-locked memory where CUDA is there.
        cache: keep decoded pictures in memory.
        seed: order, scales and augmentation follow from it and the epoch.
        limit_train_pictures: train on this many, drawn by `seed`, with all their captions; null for all.
        mix: further datasets to train on, a list of `{root: FOLDER, phrases: ..., weight: 0.1}`, each asked for its
            own classes; `weight` is the share of its pictures in an epoch; null for none.
        shots: train on pictures, drawn by `seed`, until each class is on so many of them; null for all.
        evaluate_on_train: validate and test on the training pictures, to check that the model can overfit.
        accept_changes: resume a run on other data than it was trained on so far.

    Raises:
        ConfigError: a setting is out of range.
        DatasetError: a class name is not a text.
    """

    def __init__(
        self,
        root: str,
        phrases: dict[str, str | None] | list[str] | None = None,
        source: str | None = None,
        num_train: int = 600,
        split_seed: int = 0,
        val: Val = None,
        val_seed: int = 0,
        val_split: Literal["stratified", "random"] = "stratified",
        batch_size: int = 4,
        eval_batch_size: int | None = None,
        short_side: int = 800,
        long_side_max: int = 1333,
        canvas_multiple: int = 64,
        train_short_sides: list[int] | None = None,
        augmentation: Augmentation | None = AUGMENTATION,
        num_workers: int = 2,
        pin_memory: bool = True,
        cache: bool = False,
        seed: int = 0,
        limit_train_pictures: int | None = None,
        shots: int | None = None,
        mix: list[MixedSet] | None = None,
        evaluate_on_train: bool = False,
        accept_changes: bool = False,
    ) -> None:
        super().__init__()
        # a checkpoint holds plain types only, so that it loads with weights_only=True
        self.save_hyperparameters(logger=False, ignore=["augmentation", "mix"])
        self.classes = _class_names(phrases or [])
        self._root = Path(root)
        self._source = source
        self._num_train, self._split_seed = num_train, split_seed
        self._parts = Parts(
            root=self._root,
            val=val,
            val_seed=val_seed,
            val_split=val_split,
            limit=limit_train_pictures,
            shots=shots,
            seed=seed,
            evaluate_on_train=evaluate_on_train,
        )
        self._loaders = CanvasLoaders(
            Sizing(short_side, long_side_max, canvas_multiple),
            train_short_sides or (),
            batch_size,
            batch_size if eval_batch_size is None else eval_batch_size,
            num_workers,
            pin_memory,
            seed,
        )
        self._augmentation = augmentation
        self._cache = cache
        self._seed = seed
        self._accept_changes = accept_changes
        self._mix = mix or []
        self._read_mix: list[ReadSet] = []
        self._identity: dict[str, Any] | None = None  # of what is trained on
        self._splits: dict[str, list[Picture]] = {}
        self._captions: list[GroundedPicture] = []  # of the training split, read with its table
        self._datasets: dict[str, DetectionDataset] = {}
        self.captions: dict[str, Caption] = {}  # by file and line, those that are trained; known after `setup("fit")`
        check_at_least(1, limit_train_pictures=1 if limit_train_pictures is None else limit_train_pictures)

    def prepare_data(self) -> None:
        """Make `root` from `source`, where a table is missing; several machines may share its disk.

        Raises:
            DatasetError: there is nothing to make it from, or `source` cannot be used.
        """
        finish_preparation(self._root)
        if missing := self._missing_tables():
            if self._source is None:
                raise DatasetError(
                    f"{missing[0]}: no such table; run `gdino prepare --source PATH --root {self._root}`, or set "
                    "data.source"
                )
            with refuse_unwritable(self._root), hold(self._root, "wait for it", wait=True):
                if self._missing_tables():  # still, after another process held the folder
                    self._prepare(self._source)
        for each in self._mix:
            finish_preparation(Path(each.root))
        for folder in (*(self._root / split for split in SPLITS), *(each.folder for each in self._mix)):
            pack_split(folder)

    def _missing_tables(self) -> list[Path]:
        return [path for path in (self._root / split / TABLE_NAME for split in ("train", "test")) if not path.is_file()]

    def _prepare(self, given: str) -> None:
        source = fetched(given)
        if given == SAMPLE:
            source = self._root.with_name(f"{self._root.name}-source")
            draw_sample(source)
        logger.info("%s", prepare(source, self._root, num_train=self._num_train, seed=self._split_seed))

    def setup(self, stage: str) -> None:
        """Read the tables that a stage needs and check their labels; each is read once.

        Args:
            stage: "fit", "validate", "test" or "predict".

        Raises:
            ConfigError: no classes were given, or the trainer asks for `overfit_batches`.
            DatasetError: a table or the captions cannot be used, or a label is no class.
        """
        if not self.classes:
            raise ConfigError("data.phrases is empty: give the class names (with the command line: model.phrases)")
        refuse_overfit_batches(self.trainer, "data.limit_train_pictures and data.evaluate_on_train")
        parts = {"fit": ("train", "val"), "validate": ("val",)}.get(stage, ("test",))
        # a fit is followed by a test: what would stop that is found before hours are spent
        wanted = [*parts, "test"] if stage == "fit" else parts
        self._read_all(dict.fromkeys(self._parts.split_of(part) for part in wanted))
        for part in parts:
            if part not in self._datasets:
                pictures = self._parts.pictures(part, self._splits, self._captions)
                captions = self._trained_captions() if part == "train" else []
                mixed = self._read_mix if part == "train" else []
                captioned = [*captions, *(caption for each in mixed for caption in each.captions)]
                if part == "train":
                    learned = [*pictures, *(picture for each in mixed for picture in each.pictures)]
                    self._identity = identity_of(learned, captioned)
                self.captions |= {grounded.place: grounded.caption for grounded in captioned}
                self._datasets[part] = DetectionDataset(
                    pictures,
                    self.classes,
                    captions=captions,
                    mixed=mixed,
                    augmentation=self._augmentation if part == "train" else None,
                    seed=self._seed,
                    cache=self._cache,
                )

    def state_dict(self) -> dict[str, Any]:
        """Return what is trained on, for checkpoints."""
        return {} if self._identity is None else {"trained_on": self._identity}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Compare it with what a resumed run is to be trained on.

        Raises:
            DatasetError: it is something else, and `accept_changes` is off.
        """
        if self._identity is not None and not self._accept_changes:
            check_same_data(state_dict.get("trained_on", {}), self._identity, self._root)

    @property
    def further_phrases(self) -> list[tuple[str, ...]]:
        """The wordings of each further dataset that is trained on; known after `setup("fit")`."""
        return [each.phrases for each in self._read_mix if each.phrases]

    def demands(self) -> list[Demand]:
        """What the pictures to train on ask of the model; known after `setup("fit")`."""
        return self._datasets["train"].demands(self._loaders.smallest)

    def train_dataloader(self) -> DataLoader[list[Sample]]:
        """Batches of the training pictures and captions: shuffled, scaled and augmented."""
        dataset = self._datasets["train"]
        loaders = replace(self._loaders, batch_size=self.hparams["batch_size"])  # which `AutoBatch` sets
        return loaders.for_training(dataset, dataset.sizes, dataset.weights)

    def val_dataloader(self) -> DataLoader[list[Sample]]:
        """Batches of the validation pictures."""
        return self._eval_loader("val")

    def test_dataloader(self) -> DataLoader[list[Sample]]:
        """Batches of the test pictures."""
        return self._eval_loader("test")

    def predict_dataloader(self) -> DataLoader[list[Sample]]:
        """Batches of the test pictures."""
        return self._eval_loader("test")

    def _eval_loader(self, part: str) -> DataLoader[list[Sample]]:
        dataset = self._datasets[part]
        return self._loaders.for_evaluation(dataset, dataset.sizes)

    def _trained_captions(self) -> list[GroundedPicture]:
        """The captions of the pictures that are trained on."""
        if not self._captions:
            return []
        trained = self._parts.trained(self._splits["train"], self._captions)
        captions = [caption for caption in self._captions if caption.name in trained]
        logger.info(
            "%s: %d of %d captions to train on, with %d boxes",
            self._root / "train" / CAPTIONS_NAME,
            len(captions),
            len(self._captions),
            sum(len(caption.labels) for caption in captions),
        )
        return captions

    def _read_all(self, splits: Iterable[str]) -> None:
        """Read splits, each once, and compare their labels with the classes; captions come with the training split.

        Raises:
            DatasetError: something of them cannot be used; all of it is named.
        """
        problems = Problems(self._root)
        for split in splits:
            if split not in self._splits:
                self._splits[split] = self._scan(split, problems)
        if "train" in splits and not self._read_mix:
            self._read_mix = [read_mixed(each, problems) for each in self._mix]
        problems.check()

    def _scan(self, split: str, problems: Problems) -> list[Picture]:
        folder = self._root / split
        pictures = scan_split(folder, problems)
        if split == "train":
            self._captions = scan_captions(folder, pictures, problems)
            captioned = {caption.name for caption in self._captions}
            pictures = [p for p in pictures if p.labels or p.name not in captioned]
        found = {label for picture in pictures for label in picture.labels}
        if unknown := sorted(found.difference(self.classes)):
            problems.add(
                f"{folder / TABLE_NAME}: labels {listed(unknown)} are no classes of the model, which are "
                f"{listed(self.classes)}; add them to model.phrases or correct the labels"
            )
        if split == "train" and (absent := [name for name in self.classes if name not in found]):
            logger.warning("%s has no box of the classes: %s", folder / TABLE_NAME, listed(absent))
        return pictures


def _class_names(phrases: Mapping[str, str | None] | Sequence[str]) -> list[str]:
    """Class names in order; YAML turns some of them into other types, silently."""
    for name in phrases:
        if not isinstance(name, str):
            raise DatasetError(
                f"phrases: class name {name!r} was read as {type(name).__name__}, not as text: "
                "YAML reads yes, no, on, off and numbers so; put the name in quotes"
            )
    names = list(phrases)
    if len(set(names)) != len(names):
        raise ConfigError(f"phrases: a class name appears twice in {', '.join(names)}")
    return names
