"""Training and validation batches of a configuration, each a function of (seed, epoch, step)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import torch

from distill.data.appearance import shift_domain
from distill.data.augment import (
    photometric,
    polyp_free_affine,
    random_affine,
    sample_rng,
    theta_batch,
    warp,
    warp_maps,
)
from distill.data.batch import Batch, Boxed, Unlabeled
from distill.data.made_ahead import made_ahead
from distill.data.polyp_pasting import paste_polyp
from distill.data.polyp_removal import remove_polyps
from distill.data.sampling import BOXED, UNLABELED, EpochOrder, StepViews, View
from distill.data.tensors import mask_tensor, to_tensor
from distill.data.validation import FrameScores, score_frames

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from distill.data.image_store import ImageStore, Splits
    from distill.data.teacher_maps import TeacherMaps
    from distill.options import AugmentationOptions, DataOptions, RunOptions
    from distill.teachers.cache.maps import TeacherCache
    from edge.frame import ImageU8

SHUFFLE = 0xFFFFFFFE
"""Replaces a sample's index in the random numbers that give each image a different image's maps."""
SCALE = 0xFFFFFFFD
"""Stands in for a sample's index in the random numbers that choose a step's scale."""
DEPTH = 0xFFFFFFFC
"""Stands in for a sample's index in the random numbers that choose the blocks a step skips."""
LOADERS = 4
"""Maximum number of threads that make batches while a GPU computes; none without a GPU."""
ZOOM, WIDE_ZOOM = (0.75, 1.25), (0.6, 1.7)
"""Smallest and largest visible share of each axis, for a plain and for a shifted view."""


class TrainingData:
    """The images of a run, decoded once, and their teachers' cached maps.

    Args:
        options: Shares of the data in a batch, and the input size.
        augmentation: How training views are made.
        run: Size of a batch and seed.
        splits: Frames to train on and frames to validate on.
        train: Training images at the student's input size.
        validation: Validation images at the student's input size.
        caches: One per teacher, over the training images.
        task_logits: The task teacher's logits on the same images.
        unlabeled: Frames without masks at the student's input size.
        boxed: Frames of `splits.boxed` at the student's input size.
        images: Frames that only teachers label; the caches hold them behind the training images.
        held_out: Maps of the validation images, for a training without masks, in which every frame
            of `train` and `images` comes once in an epoch.
        shuffle_teacher: Give every image the maps of another one.
    """

    def __init__(
        self,
        options: DataOptions,
        augmentation: AugmentationOptions,
        run: RunOptions,
        splits: Splits,
        train: ImageStore,
        validation: ImageStore,
        caches: Sequence[TeacherCache],
        task_logits: TeacherCache | None = None,
        *,
        unlabeled: ImageStore | None = None,
        boxed: ImageStore | None = None,
        images: ImageStore | None = None,
        held_out: TeacherMaps | None = None,
        shuffle_teacher: bool = False,
    ) -> None:
        self.options, self.augmentation, self.seed = options, augmentation, run.seed
        self.splits, self.train, self.validation = splits, train, validation
        self.caches, self.task_logits = caches, task_logits
        self.unlabeled, self.boxed = unlabeled, boxed
        self.images, self.held_out = images, held_out
        self.labeled = len(train) - len(splits.clean_train)
        samples = list(splits.train)
        if held_out is not None:
            samples += [*splits.clean_train, *splits.images]
        self.order = EpochOrder(
            [sample.dataset for sample in samples],
            clean=len(splits.clean_train) if held_out is None else 0,
            unlabeled=0 if unlabeled is None else len(unlabeled),
            batch_size=run.batch_size,
            clean_share=options.negative_share,
            unlabeled_share=options.unlabeled_share,
            balance=options.balance,
            seed=run.seed,
            boxed=0 if boxed is None else len(boxed),
            box_share=options.box_share,
        )
        self.batch_size, self.steps = self.order.batch_size, self.order.steps
        self.teacher_channels = [cache.channels for cache in caches]
        self.loaders = (
            min(LOADERS, len(os.sched_getaffinity(0)) - 1) if torch.cuda.is_available() else 0
        )
        view_total = len(train) + (0 if images is None else len(images))
        self.shown_to_teachers = np.arange(view_total)
        if shuffle_teacher:
            # A rotation of a random order is a random order in which nothing stays in its place.
            order = sample_rng(self.seed, 0, SHUFFLE).permutation(view_total)
            self.shown_to_teachers[order] = np.roll(order, 1)

    def batches(self, epoch: int, start: int = 0, part: slice = slice(None)) -> Iterator[Batch]:
        """Augmented training batches of an epoch; the last, partial one is left out.

        Args:
            epoch: From 0.
            start: Step to begin with.
            part: Samples of each batch, for one of several processes.
        """
        steps = (
            (StepViews(*(kind[part] for kind in views)),)
            for step, views in enumerate(self.order.epoch(epoch))
            if step >= start
        )
        yield from made_ahead(lambda item: self._batch(epoch, *item), steps, self.loaders)

    def _batch(self, epoch: int, views: StepViews) -> Batch:
        images, masks, thetas = [], [], []
        for view in views.known:
            rng = sample_rng(self.seed, epoch, view.index, *view.again)
            image, mask, theta = self._augmented(*self._source(view.index, rng), rng)
            images.append(image)
            masks.append(mask)
            thetas.append(theta)
        warps = theta_batch(thetas)
        rows = self.shown_to_teachers[[view.index for view in views.known]]
        targets = [warp_maps(cache.batch(rows), warps) for cache in self.caches]
        logits = None if self.task_logits is None else warp_maps(self.task_logits.raw(rows), warps)
        return Batch(
            to_tensor(np.stack(images)),
            mask_tensor(np.stack(masks)),
            targets,
            logits,
            self._weak_and_strong(self.unlabeled, UNLABELED, epoch, views.unlabeled),
            boxed=self._boxed(epoch, views.boxed),
        )

    def _source(self, index: int, rng: np.random.Generator) -> tuple[ImageU8, ImageU8]:
        """A frame and its mask, with a polyp removed or pasted in by chance."""
        store, row = self.train, index
        if self.images is not None and index >= len(self.train):
            store, row = self.images, index - len(self.train)
        image, mask = store.images[row], store.masks[row]
        options = self.augmentation
        if options.removed_polyps and rng.random() < options.removed_polyps:
            cleaned = remove_polyps(image, mask, rng)
            if cleaned is not None:
                image, mask = cleaned, np.zeros_like(mask)
        if index >= self.labeled and options.pasted_polyps and rng.random() < options.pasted_polyps:
            other = int(rng.integers(self.labeled))
            pasted = paste_polyp(image, self.train.images[other], self.train.masks[other], rng)
            image, mask = (image, mask) if pasted is None else pasted
        return image, mask

    def _augmented(
        self, picture: ImageU8, truth: ImageU8, rng: np.random.Generator, *, as_is: bool = False
    ) -> tuple[ImageU8, ImageU8, NDArray[np.float64]]:
        """A training view of a frame, its mask, and the geometry of both.

        Args:
            picture: The frame.
            truth: Its mask.
            rng: Random numbers of this view.
            as_is: The mask only says what is visible: it stays as it is, and polyps are not
                avoided.
        """
        share = self.augmentation.shifted_views
        # Nothing is drawn where there is nothing to choose: a run of none or of all keeps its
        # views.
        shifted = rng.random() < share if 0 < share < 1 else share == 1
        theta = random_affine(rng, WIDE_ZOOM if shifted else ZOOM)
        polyp_free = 0.0 if as_is else self.augmentation.polyp_free_views
        if polyp_free and rng.random() < polyp_free:
            window = polyp_free_affine(truth, rng)
            theta = theta if window is None else window
        image, mask = warp(picture, theta), warp(truth, theta)
        if shifted:
            other = self.train.images[int(rng.integers(len(self.train)))]
            image, mask = shift_domain(image, mask, other, rng)
        return photometric(image, rng), mask, theta

    def _boxed(self, epoch: int, views: list[View]) -> Boxed | None:
        frames = self._weak_and_strong(self.boxed, BOXED, epoch, views)
        if frames is None:
            return None
        boxes = [self.splits.boxed[view.index].boxes for view in views]
        return Boxed(frames, [torch.tensor(edges).reshape(-1, 4) for edges in boxes])

    def _weak_and_strong(
        self, store: ImageStore | None, stream: int, epoch: int, views: list[View]
    ) -> Unlabeled | None:
        """Frames of a store as they are and as augmented views; None if a step has none."""
        if store is None or not views:
            return None
        strong, visible, thetas = [], [], []
        for view in views:
            rng = sample_rng(self.seed, epoch, stream, view.index, *view.again)
            frame = store.images[view.index]
            everything = np.full(frame.shape[:2], 255, np.uint8)
            image, truth, theta = self._augmented(frame, everything, rng, as_is=True)
            strong.append(image)
            visible.append(truth)
            thetas.append(theta)
        frames = store.images[[view.index for view in views]]
        return Unlabeled(
            to_tensor(frames),
            to_tensor(np.stack(strong)),
            theta_batch(thetas),
            mask_tensor(np.stack(visible)),
        )

    def training_side(self, divisor: int, epoch: int, step: int) -> int:
        """Return a step's image size: one of the configured scales, a multiple of `divisor`."""
        rng = np.random.default_rng([self.seed, epoch, SCALE, step])
        scales = self.augmentation.scales
        scale = scales[rng.integers(len(scales))]
        return max(1, round(self.options.size * scale / divisor)) * divisor

    def calibration(self, count: int) -> Iterator[Tensor]:
        """Return unchanged training images (1, 3, H, W), normalized, evenly spread over the set."""
        for index in np.linspace(0, len(self.train) - 1, min(count, len(self.train))).astype(int):
            yield to_tensor(self.train.images[index : index + 1])

    def held_out_batches(self) -> Iterator[Batch]:
        """Validation images as they are, with the maps of `held_out`, which must be given."""
        assert self.held_out is not None
        for begin in range(0, len(self.validation), self.batch_size):
            rows = np.arange(begin, min(begin + self.batch_size, len(self.validation)))
            logits = self.held_out.logits
            yield Batch(
                to_tensor(self.validation.images[rows]),
                mask_tensor(self.validation.masks[rows]),
                [cache.batch(rows) for cache in self.held_out.targets],
                None if logits is None else logits.raw(rows),
            )

    def score_frames(self, model: nn.Module) -> FrameScores:
        """Compare the model with the validation masks; see `distill.data.validation`."""
        return score_frames(model, self.validation, self.batch_size)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Figures of the validation frames, as `FrameScores.figures` returns them."""
        return self.score_frames(model).figures()


def step_seed(seed: int, epoch: int, step: int, process: int) -> int:
    """Seed of what one process draws in one step, besides its images."""
    return int(np.random.default_rng([seed, epoch, DEPTH, step, process]).integers(2**63 - 1))
