"""Side-by-side frames and contact sheets show every picture, undistorted, where its label says."""

from __future__ import annotations

import numpy as np
import pytest

from animator.visuals import BACKGROUND, Row, contact_sheet, fit, side_by_side


def plain(height: int, width: int, colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def test_a_wide_picture_is_fitted_whole_between_bars() -> None:
    fitted = fit(plain(50, 100, (200, 10, 10)), 64, 64)
    assert fitted.shape == (64, 64, 3)
    assert (fitted[16:48] == (200, 10, 10)).all()
    assert (fitted[:15] == BACKGROUND).all()
    assert (fitted[49:] == BACKGROUND).all()


def test_side_by_side_keeps_the_order_and_even_sides() -> None:
    joined = side_by_side([("a", plain(9, 9, (255, 0, 0))), ("b", plain(7, 5, (0, 255, 0)))], side=33)
    assert joined.shape[0] % 2 == 0
    assert joined.shape[1] % 2 == 0
    assert tuple(joined[16, 16]) == (255, 0, 0)
    assert tuple(joined[16, 33 + 16]) == (0, 255, 0)


def test_contact_sheet_places_rows_under_each_other() -> None:
    rows = [Row("driving", [plain(8, 8, (255, 0, 0))] * 3), Row("result", [plain(8, 8, (0, 0, 255))])]
    sheet = contact_sheet(rows, 40, 4)
    red, blue = (sheet == (255, 0, 0)).all(-1), (sheet == (0, 0, 255)).all(-1)
    assert red.sum() == 3 * 40 * 40
    assert blue.sum() == 40 * 40
    assert np.argwhere(red)[:, 0].max() < np.argwhere(blue)[:, 0].min()


def test_a_sheet_without_pictures_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one picture"):
        contact_sheet([Row("nothing", [])])
