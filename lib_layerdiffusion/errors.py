"""What can go wrong, as sentences for the user.

LayerDiffuseError            shown as it is: what is wrong, what to do
  UnsupportedBaseModel       the method needs an SDXL checkpoint, the loaded one is SD1.5
  UnsupportedMethod          the method cannot run (here, yet, or with this checkpoint)
  BadSetting                 a value outside its range, an unknown method name
  MissingPicture             the method needs a background picture
  BadPicture                 what was given for a picture is none
  BatchSizeMismatch          four pictures cannot be scenes of three
  WeightsError               a weight file of models/layer_model
    DownloadFailed           it is not there and could not be fetched
    WrongWeights             it is there and holds something else, or what no network can use
  OutOfMemory                a network does not fit beside what is loaded, in no way that was tried
  Interrupted                the user pressed Interrupt
  IncompatibleHost           this WebUI lacks something that the job needs
  GenerationFailed           something broke inside; the message names it
"""

from __future__ import annotations

import logging
import traceback

logger = logging.getLogger("layerdiffuse")


class LayerDiffuseError(Exception):
    """A sentence for the user. `status_code` and `detail` are what a web API answers with.

    Hosts turn an exception into a JSON answer from its instance attributes, so both are set there.
    """

    status = 422

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.detail = message
        self.status_code = self.status


class UnsupportedBaseModel(LayerDiffuseError):
    """The loaded checkpoint is of another family than the method."""


class UnsupportedMethod(LayerDiffuseError):
    """The method exists but cannot run."""


class BadSetting(LayerDiffuseError):
    """A setting has a value that means nothing."""


class MissingPicture(LayerDiffuseError):
    """A picture that the method needs was not given."""


class BadPicture(LayerDiffuseError):
    """A value that should be a picture is not one."""


class BatchSizeMismatch(LayerDiffuseError):
    """The batch does not consist of whole scenes."""


class WeightsError(LayerDiffuseError):
    """Something is wrong with a weight file."""

    status = 500


class DownloadFailed(WeightsError):
    """A weight file is missing and could not be fetched."""


class WrongWeights(WeightsError):
    """A weight file holds something else than its name says."""


class OutOfMemory(LayerDiffuseError):
    """Memory ran out in every way of computing that was tried."""

    status = 507


class Interrupted(LayerDiffuseError):
    """The user asked to stop; what was begun is kept where it can be continued."""

    status = 409


class IncompatibleHost(LayerDiffuseError):
    """The WebUI lacks something that the job needs."""

    status = 500


class GenerationFailed(LayerDiffuseError):
    """Something failed that should not have; the cause is chained."""

    status = 500


def for_user(error: Exception, doing: str) -> LayerDiffuseError:
    """Return an error that a user can read, and log the whole story of one that was not meant for users.

    What the failed functions had in their variables is let go: hosts keep an error until the next one.
    """
    if isinstance(error, LayerDiffuseError):
        logger.error("%s", error)
        _let_go(error)
        return error
    logger.error("failed while %s", doing, exc_info=error)
    _let_go(error)
    failed = GenerationFailed(
        f"LayerDiffuse failed while {doing} ({type(error).__name__}: {error}). The console has the details."
    )
    failed.__cause__ = error
    return failed


def _let_go(error: BaseException | None) -> None:
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
