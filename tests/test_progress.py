"""Progress: its rate, and its place beside what is printed."""

import pytest

from interpreter.progress import RateColumn, progress_bar


@pytest.mark.parametrize(("speed", "told"), [(None, ""), (12.34, "12.3/s"), (0.25, "4.0 s each")])
def test_the_rate(speed: float | None, told: str) -> None:
    with progress_bar() as bar:
        bar.add_task("some", total=10)
        (task,) = bar.tasks
    task.finished_speed = speed
    assert RateColumn().render(task).plain == told


def test_one_within_another_is_a_line_of_it() -> None:
    with progress_bar() as outer:
        outer.add_task("shards", total=1)
        with progress_bar() as inner:
            assert inner is outer
            inner.add_task("heads", total=8)
            assert [task.description for task in outer.tasks] == ["shards", "heads"]
        assert [task.description for task in outer.tasks] == ["shards"]
    with progress_bar() as other:
        assert other is not outer


def test_it_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar() as bar:
        assert list(bar.track([1, 2], description="Some")) == [1, 2]
    out, err = capsys.readouterr()
    assert out == ""
    assert "Some" in err
    assert "2/2" in err
