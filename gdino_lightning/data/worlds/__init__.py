"""The drawn open world behind `gdino_lightning.data.world`: kinds, paint, backgrounds, scenes, phrases and truth."""
