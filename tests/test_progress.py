"""One line for a journey of several stages."""

from __future__ import annotations

import io

import pytest

from musika_tf import progress


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_time_left_is_that_of_the_task_and_of_all_later_stages(clock):
    journey = progress.Journey("mine", {"encode": 60.0, "gan": 7200.0, "release": 240.0})
    done = {"n": 0, "total": 40, "initial": 0, "elapsed": 0.0, "prefix": "encoding: "}
    done["postfix"] = None
    clock[0] = 60.0  # Planned for a minute, which is over.
    assert journey.line(done) == "mine  1/3 encode, encoding 0 %  2 h 4 min left"
    journey.begin("gan", 3600.0)
    # A resumed bar: 100 steps in 10 s, 600 more to go.
    done |= {
        "n": 400,
        "total": 1000,
        "initial": 300,
        "elapsed": 10.0,
        "prefix": "",
        "postfix": "l=1",
    }
    assert journey.line(done) == "mine  2/3 gan 40 %  5 min left  l=1"


def test_bars_are_their_own_outside_and_one_line_inside():
    alone, together = io.StringIO(), io.StringIO()
    list(progress.bar(range(3), desc="alone", file=alone))
    with progress.Journey("mine", {"read": 1.0, "train": 120.0}) as journey:
        list(progress.bar(range(3), desc="reading", file=together, mininterval=0))
        journey.begin("train")
        list(progress.bar(range(3), desc="steps", file=together, mininterval=0))
    assert "alone: 100%" in alone.getvalue() and "mine" not in alone.getvalue()
    shown = [line.strip() for line in together.getvalue().split("\r") if line.strip()]
    assert all(line.startswith("mine  ") and line.endswith("left") for line in shown)
    assert shown[0].startswith("mine  1/2 read, reading") and "2/2 train, steps" in shown[-1]
