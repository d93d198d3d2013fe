"""What a reviewer's verdict makes of submitted work. Pure."""

from __future__ import annotations

import msgspec
from tinytown.errors import Refused
from tinytown.model.ids import SUPERVISOR
from tinytown.model.text import shown

from tinytown_git.settings import Settings
from tinytown_git.work import Review, Stage, Work


def with_review(work: Work, review: Review, settings: Settings, now_ms: int) -> Work:
    """The work after a verdict on it: refused, on its way to be merged, or still waiting for another one.

    A person's word is enough for every kind of review; an author never approves its own work.
    Raises: Refused if it does not wait for a review, or if what was reviewed is not what it is now.
    """
    if work.stage != "review":
        raise Refused(f"task {work.task} does not wait for a review: it is {work.stage}", hint="tt merge list")
    if review.commit != work.commit:
        raise Refused(
            f"task {work.task} has changed since: it is at {work.commit[:12]}, the review is of {review.commit[:12]}",
            hint=f"tt review {work.task}",
            code="review_outdated",
        )
    if review.approved and review.by == work.agent:
        raise Refused(
            f"agent {shown(review.by)!r} is the author and cannot approve its own work",
            hint="ask another agent or the supervisor",
            code="own_work",
        )
    reviewed = msgspec.structs.replace(work, reviews=(*work.reviews, review), since_ms=now_ms, reason="")
    if not review.approved:
        reason = f"rejected by {review.by}: {review.reason}"
        return msgspec.structs.replace(reviewed, stage="refused", reason=reason)
    enough = review.by == SUPERVISOR or settings.review in ("agent", "either")
    return msgspec.structs.replace(reviewed, stage=next_stage(settings)) if enough else reviewed


def next_stage(settings: Settings) -> Stage:
    """Where work goes that a reviewer has approved."""
    return "accepted" if settings.merge == "branch" else "queued"


def on_timeout(work: Work, settings: Settings, now_ms: int) -> Work | None:
    """The work if nobody has reviewed it in time; None while there is time."""
    limit_ms = settings.review_timeout_s * 1000
    if work.stage != "review" or not limit_ms or now_ms < work.since_ms + limit_ms:
        return None
    how = f"no review within {settings.review_timeout_s:g} s"
    stage: Stage = next_stage(settings) if settings.review_timeout == "approve" else "refused"
    return msgspec.structs.replace(work, stage=stage, reason=how, since_ms=now_ms)
