from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from tests.metrics.cases import cross_entropy, data, network, quadratic, surface
from tune_lb.errors import RequestError
from tune_lb.metrics import keskar as module
from tune_lb.metrics.keskar import STRONG, GaussianSubspace, Keskar, label
from tune_lb.metrics.lambda_max import LambdaMax
from tune_lb.metrics.measuring import measure_all

FULL = Keskar(spaces=("full",), eps=(0.1, 0.05))


def vector(n, seed=0):
    return torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rises(f, point, coordinates, eps, A):
    """f(x + A y) - f(x) at every corner y of the box, by enumeration."""
    widths = eps * (coordinates.abs() + 1)
    corners = [
        torch.tensor(signs, dtype=torch.float64) * widths for signs in itertools.product((-1, 1), repeat=len(widths))
    ]
    return max(f(point + A @ y) for y in corners) - f(point)


def test_linear_loss_in_the_full_space():
    b, w = vector(12), vector(12, 1)
    row = FULL.measure(quadratic(torch.zeros(12, 12, dtype=torch.float64), b=b, w=w, c=50.0), 0)
    f = 50 + float(b @ w)
    for eps in FULL.eps:
        rise = float((b.abs() * eps * (w.abs() + 1)).sum())
        assert row[f"keskar.full_{label(eps)}"] == pytest.approx(100 * rise / (1 + f), rel=1e-12)
        assert row[f"keskar.corner_{label(eps)}"] == pytest.approx(100 * rise / (1 + f), rel=1e-12)
        assert row[f"keskar.full_{label(eps)}.stop"] == "projected_gradient"


def test_separable_quadratic_away_from_its_minimum():
    # f = sum h_i (w_i - m_i)^2 / 2: each coordinate's maximum is at the end of its interval that is farther from m_i.
    h, m, w = vector(9).abs() + 3, vector(9, 1), vector(9, 2)
    row = FULL.measure(quadratic(torch.diag(h), b=-h * m, w=w, c=float((h * m * m).sum() / 2)), 0)
    f = float((h * (w - m) ** 2).sum() / 2)
    for eps in FULL.eps:
        reach = (w - m).abs() + eps * (w.abs() + 1)
        rise = float((h * reach**2).sum() / 2) - f
        assert row[f"keskar.full_{label(eps)}"] == pytest.approx(100 * rise / (1 + f), rel=1e-10)


def test_concave_quadratic_has_its_maximum_inside_the_box():
    h, w = vector(9).abs() + 1, 0.02 * torch.ones(9, dtype=torch.float64)
    row = FULL.measure(quadratic(-torch.diag(h), w=w, c=3.0), 0)
    f = 3 - float((h * w * w).sum() / 2)
    assert row["keskar.full_1e-1"] == pytest.approx(100 * (3 - f) / (1 + f), rel=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_linear_loss_in_a_subspace(seed):
    n, p = 40, 3
    b, w = vector(n), vector(n, 1)
    f = quadratic(torch.zeros(n, n, dtype=torch.float64), b=b, w=w, c=50.0)
    A = torch.cat(list(GaussianSubspace(f, p, seed).blocks()))
    row = Keskar(spaces=("subspace",), eps=(0.1,), p=p).measure(f, seed)
    rise = rises(lambda point: float(b @ point), w, torch.linalg.pinv(A) @ w, 0.1, A)
    assert row["keskar.subspace_1e-1"] == pytest.approx(100 * rise / (1 + f.value()), rel=1e-9)


def test_least_squares_and_gram_matrix_agree_with_the_pseudo_inverse():
    for n, p in ((5, 5), (30, 5), (200, 5)):
        f = quadratic(torch.eye(n, dtype=torch.float64), w=vector(n))
        space = GaussianSubspace(f, p, 0)
        A = torch.cat(list(space.blocks()))
        torch.testing.assert_close(space.coordinates(f.point), torch.linalg.pinv(A) @ f.point, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(space.up(vector(p)), A @ vector(p))
        torch.testing.assert_close(space.down(f.point), A.T @ f.point)


def test_a_matrix_too_large_to_keep_is_drawn_again_the_same(monkeypatch):
    f = quadratic(torch.eye(50, dtype=torch.float64), w=vector(50))
    monkeypatch.setattr(module, "ROWS", 7)
    kept = GaussianSubspace(f, 4, 0)
    monkeypatch.setattr(module, "MAX_STORED_ELEMENTS", 10)
    redrawn = GaussianSubspace(f, 4, 0)
    assert redrawn._stored is None
    assert kept._stored is not None
    for map_ in ("coordinates", "down"):
        assert torch.equal(getattr(kept, map_)(f.point), getattr(redrawn, map_)(f.point))
    A = torch.cat(list(redrawn.blocks()))
    assert len(A.unique()) == 200
    torch.testing.assert_close(redrawn.down(f.point), A.T @ f.point)
    torch.testing.assert_close(redrawn.up(vector(4)), A @ vector(4))


def test_entries_of_a_are_standard_normal():
    A = torch.cat(list(GaussianSubspace(quadratic(torch.eye(400)), 100, 0).blocks()))
    n = A.numel()
    assert abs(float(A.mean())) < 4 / n**0.5
    assert abs(float(A.var()) - 1) < 4 * (2 / n) ** 0.5


@pytest.mark.parametrize("seed", range(3))
def test_on_a_network_phi_is_positive_grows_with_eps_and_is_repeatable(seed):
    metric = Keskar(p=10, eps=(1e-2, 1e-3, 5e-4))
    f = surface(network(seed), *data(20))
    row = metric.measure(f, seed)
    for where in ("full", "subspace", "corner"):
        values = [row[f"keskar.{where}_{label(eps)}"] for eps in metric.eps]
        assert values[0] > values[1] > values[2] > 0
    assert row == metric.measure(surface(network(seed), *data(20)), seed)
    assert row["keskar.subspace_1e-3"] != metric.measure(f, seed + 9)["keskar.subspace_1e-3"]
    assert row["keskar.full_1e-3"] == metric.measure(f, seed + 9)["keskar.full_1e-3"]


def test_more_starts_never_lower_the_value_and_the_corner_start_holds_the_corner():
    f = surface(network(), *data(20))
    one, two = (Keskar(p=10, starts=starts).measure(f, 0) for starts in (("x",), ("x", "corner")))
    for key in ("keskar.full_1e-3", "keskar.subspace_1e-3"):
        assert two[key] >= one[key]
        assert two[f"{key}.evaluations"] > one[f"{key}.evaluations"]
    assert two["keskar.full_1e-3"] >= two["keskar.corner_1e-3"]
    assert two["keskar.starts"] == "x+corner"


def test_the_order_of_starts_does_not_matter():
    f = surface(network(), *data(20))
    for fields in ({"spaces": ("full",)}, {"spaces": ("subspace",), "p": 10}):
        orders = [Keskar(**fields, starts=starts, eps=(0.1,)) for starts in (("x", "corner"), ("corner", "x"))]
        first, second = (metric.measure(f, 0)[f"keskar.{fields['spaces'][0]}_1e-1"] for metric in orders)
        assert first == second


def test_a_maximum_has_no_sharpness():
    row = FULL.measure(quadratic(-torch.eye(4, dtype=torch.float64), c=1.0), 0)
    assert row["keskar.full_1e-1"] == row["keskar.corner_1e-1"] == 0


def test_a_loss_that_overflows_in_the_box_gives_null_with_the_reason():
    row = FULL.measure(quadratic(torch.zeros(2, 2), b=torch.tensor([3e38, 3e38]), w=torch.tensor([0.0, 0.0])), 0)
    assert row["keskar.full_1e-1"] is not None
    row = Keskar(spaces=("full",), eps=(2.0,)).measure(quadratic(torch.zeros(2, 2), b=torch.tensor([3e38, 3e38])), 0)
    assert row["keskar.full_2e0"] is None
    assert "at a point of the box" in row["keskar.reason"]


def test_a_loss_without_a_phi_gives_null_with_the_reason():
    row = FULL.measure(quadratic(torch.eye(2), c=-1.0), 0)
    assert row["keskar.full_1e-1"] is None
    assert "losses above -1" in row["keskar.reason"]


def test_fewer_parameters_than_directions_give_null_with_the_reason():
    row = Keskar(p=5).measure(quadratic(torch.eye(4)), 0)
    assert row["keskar.full_1e-3"] is None
    assert row["keskar.reason"] == "p = 5 directions, but the network has 4 parameters"


@pytest.mark.parametrize(
    ("eps", "expected"), [(1e-3, "1e-3"), (5e-4, "5e-4"), (2.5e-4, "2.5e-4"), (0.1, "1e-1"), (10, "1e1")]
)
def test_labels(eps, expected):
    assert label(eps) == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"eps": ()},
        {"eps": (0.0,)},
        {"eps": (1e-3, 1e-3)},
        {"spaces": ("half",)},
        {"starts": ()},
        {"p": 0},
        {"max_evaluations": 0},
    ],
)
def test_settings_without_meaning_are_refused(fields):
    with pytest.raises(RequestError, match="keskar"):
        Keskar(**fields)


@pytest.mark.parametrize("spaces", [("full",), ("subspace",)])
def test_at_a_minimiser_of_a_rank_one_quadratic_only_the_strong_mode_finds_the_maximum(spaces):
    # f = (v^T w)^2 / 2 at w = 0: over a box of half-width eps the maximum is (eps |A^T v|_1)^2 / 2, at the corner sign(A^T v)
    v = vector(20)
    f = quadratic(torch.outer(v, v))
    fields = {"spaces": spaces, "eps": (0.1,), "p": 4}
    paper, strong = (Keskar(**fields, mode=mode).measure(f, 0) for mode in ("paper", "strong"))
    A = torch.cat(list(GaussianSubspace(f, 4, 0).blocks())) if spaces == ("subspace",) else torch.eye(20).double()
    key = f"keskar.{spaces[0]}_1e-1"
    assert strong[key] == pytest.approx(100 * float((A.T @ v).abs().sum() * 0.1) ** 2 / 2, rel=1e-9)
    assert (paper[key], paper[f"{key}.iterations"], paper[f"{key}.stop"]) == (0, 0, "projected_gradient")
    assert (paper["keskar.mode"], strong["keskar.mode"]) == ("paper", "strong")
    assert strong["keskar.starts"] == "x+corner+interior+eigenvector+-eigenvector"


def test_a_positive_and_a_negative_eigenvector_are_both_tried():
    # along +v the box's corner is higher than along -v by the gradient b: only one of the two starts there
    v, b = vector(12), torch.zeros(12, dtype=torch.float64)
    b[0] = 0.3
    for sign in (1, -1):
        f = quadratic(40 * torch.outer(v, v), b=sign * b, c=5.0)
        starts = [("eigenvector",), ("-eigenvector",)]
        values = [Keskar(spaces=("full",), eps=(0.1,), starts=s).measure(f, 0)["keskar.full_1e-1"] for s in starts]
        strong = Keskar(spaces=("full",), eps=(0.1,), mode="strong").measure(f, 0)["keskar.full_1e-1"]
        assert strong >= max(values) > 0


@pytest.mark.parametrize("seed", range(2))
def test_the_strong_mode_is_never_below_the_paper_s_or_any_single_start(seed):
    f = surface(network(seed), *data(20))
    strong = Keskar(p=10, mode="strong").measure(f, 0)
    for start in STRONG:
        one = Keskar(p=10, starts=(start,)).measure(f, 0)
        for key in ("keskar.full_1e-3", "keskar.subspace_1e-3"):
            assert strong[key] >= one[key] > 0


def test_a_mode_that_there_is_not_and_starts_beside_a_mode_are_refused():
    with pytest.raises(RequestError, match="one of paper, strong"):
        Keskar(mode="weak")
    with pytest.raises(RequestError, match="give one of them"):
        Keskar(mode="strong", starts=("corner",))


def test_all_variables_of_the_subspace_on_the_bound_up_to_rounding():
    """B10: a ZeroDivisionError, in one of twenty plain networks with random data."""
    torch.manual_seed(8)
    inputs, targets = torch.randn(64, 8, 8), torch.randint(0, 10, (64,))
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    row = measure_all([LambdaMax(), Keskar()], surface(net, inputs, targets), 0)
    assert row["keskar.reason"] is None
    assert row["keskar.subspace_1e-3"] > 0


@pytest.mark.parametrize("constant", [0.5, 3.0, 100.0])
def test_a_constant_added_to_the_loss_lowers_phi_by_1_plus_f_and_leaves_lambda_max(constant):
    # Hynes: networks of the same curvature differ in phi by their losses alone
    def shifted(outputs, targets):
        return nn.functional.cross_entropy(outputs, targets, reduction="none") + constant

    chosen = [Keskar(eps=(1e-2,), p=20), LambdaMax(tolerance=1e-8)]
    net = network()
    f = surface(net, *data(30)).value()
    plain, other = (measure_all(chosen, surface(net, *data(30), loss=loss), 0) for loss in (cross_entropy, shifted))
    for name in ("keskar.full_1e-2", "keskar.subspace_1e-2", "keskar.corner_1e-2"):
        assert plain[name] > 0.01
        assert other[name] == pytest.approx(plain[name] * (1 + f) / (1 + f + constant), rel=1e-6)
    assert other["lambda_max"] == pytest.approx(plain["lambda_max"], rel=1e-10)
