"""Pictures that are the same to the eye: a perceptual hash, confirmed by the correlation of thumbnails.

The hash alone pairs pictures that are merely alike (similar selfies), the correlation alone pairs pictures of one
layout; together they are strict. On the Face Mask Detection dataset the twelve re-published pairs have hashes that
differ in at most 2 of 64 bits and correlations from .9995; the next pair, another moment of one scene, has 6 bits
and .972. So re-encoding, rescaling and changes of brightness or contrast are seen through. Crops, mirrored copies
and other photographs of one scene are not found.
"""

from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

THUMBNAIL_SIDE = 32  # px
MAX_HASH_DISTANCE = 2  # bits of 64
MIN_CORRELATION = 0.99
_HASH_SIDE = 8
_BLOCK = 256  # rows of the correlation matrix that are in memory at once

Thumbnail = npt.NDArray[np.uint8]
Pairs = npt.NDArray[np.intp]


def thumbnail(rgb: npt.NDArray[np.uint8]) -> Thumbnail:
    """Shrink a picture (H, W, 3) uint8 RGB to the (32, 32) uint8 grey by which pictures are compared."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(grey, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def perceptual_hash(small: Thumbnail) -> npt.NDArray[np.bool_]:
    """Return the 64 bits of pHash: which of the 8x8 lowest DCT coefficients lie above their median.

    Source: Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions", section 3.2.1.
    """
    low = cv2.dct(small.astype(np.float32))[:_HASH_SIDE, :_HASH_SIDE].ravel()
    return np.asarray(low > np.median(low), dtype=np.bool_)


def near_identical(thumbnails: Mapping[str, Thumbnail]) -> tuple[tuple[str, ...], ...]:
    """Group the pictures that are near-identical, byte-identical ones among them.

    Args:
        thumbnails: Picture name -> its thumbnail.

    Returns:
        Groups of at least two names, disjoint, in the order of the names; a picture that is near-identical to
        two others puts all three in one group.
    """
    names = list(thumbnails)
    if not names:
        return ()
    stacked = np.stack(list(thumbnails.values()))
    first, second = np.concatenate([_same_thumbnails(stacked), _correlated(stacked)]).T
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(len(names), len(names)))
    groups: dict[int, list[str]] = {}
    for name, group in zip(names, connected_components(graph, directed=False)[1].tolist(), strict=True):
        groups.setdefault(group, []).append(name)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _same_thumbnails(stacked: Thumbnail) -> Pairs:
    """Pairs of equal thumbnails (N, 32, 32) -> (pairs, 2); finds pictures of one colour, which correlate with none."""
    _, representative, member = np.unique(
        stacked.reshape(len(stacked), -1), axis=0, return_index=True, return_inverse=True
    )
    pairs = np.stack([representative[member.ravel()], np.arange(len(stacked))], axis=1)
    return np.asarray(pairs[pairs[:, 0] != pairs[:, 1]], dtype=np.intp)


def _correlated(stacked: Thumbnail) -> Pairs:
    """Pairs of thumbnails (N, 32, 32) whose hashes and grey levels agree -> (pairs, 2)."""
    hashes = np.stack([perceptual_hash(small) for small in stacked])
    centred = stacked.reshape(len(stacked), -1).astype(np.float32)
    centred -= centred.mean(axis=1, keepdims=True)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    found = []
    for start in range(0, len(stacked), _BLOCK):
        correlation = centred[start : start + _BLOCK] @ centred[start:].T
        pairs = np.argwhere(np.triu(correlation >= MIN_CORRELATION, k=1)) + start
        distance = np.count_nonzero(hashes[pairs[:, 0]] != hashes[pairs[:, 1]], axis=1)
        found.append(pairs[distance <= MAX_HASH_DISTANCE])
    return np.asarray(np.concatenate(found), dtype=np.intp)
