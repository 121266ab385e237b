"""What a run does between steps: checkpoints, early stopping, calibration, pictures, plots, the report."""

from gdino_lightning.training.callbacks.auto_batch import AutoBatch
from gdino_lightning.training.callbacks.calibrate import Calibrate
from gdino_lightning.training.callbacks.checkpoints import EpochCheckpoints
from gdino_lightning.training.callbacks.early_stopping import GuardedEarlyStopping
from gdino_lightning.training.callbacks.ema import RampedEMA
from gdino_lightning.training.callbacks.graceful_stop import GracefulStop
from gdino_lightning.training.callbacks.phrase_score import PhraseScore
from gdino_lightning.training.callbacks.pictures import DetectionPictures
from gdino_lightning.training.callbacks.predictions import PredictionsCSV
from gdino_lightning.training.callbacks.protocol_score import ProtocolScore
from gdino_lightning.training.callbacks.reference import Reference, ReferenceScore
from gdino_lightning.training.callbacks.report import RunReport
from gdino_lightning.training.callbacks.results import ResultsPlot
from gdino_lightning.training.callbacks.store_records import StoreRecords

__all__ = [
    "AutoBatch",
    "Calibrate",
    "DetectionPictures",
    "EpochCheckpoints",
    "GracefulStop",
    "GuardedEarlyStopping",
    "PhraseScore",
    "PredictionsCSV",
    "ProtocolScore",
    "RampedEMA",
    "Reference",
    "ReferenceScore",
    "ResultsPlot",
    "RunReport",
    "StoreRecords",
]
