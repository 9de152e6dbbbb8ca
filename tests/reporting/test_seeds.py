import pandas as pd

from lgg.reporting.seeds import read_methods, read_seeds


def test_method_and_seed_come_from_the_path_and_rows_in_the_order_of_the_files(tmp_path):
    paths = []
    for method, seed in (("gkd", 10), ("baseline", 2)):
        paths.append(tmp_path / method / f"seed{seed}" / "history.csv")
        paths[-1].parent.mkdir(parents=True)
        pd.DataFrame({"epoch": [1, 2], "loss": [seed, seed + 0.5]}).to_csv(paths[-1], index=False)
    expected = pd.DataFrame(
        {
            "epoch": [1, 2, 1, 2],
            "loss": [10, 10.5, 2, 2.5],
            "method": ["gkd"] * 2 + ["baseline"] * 2,
            "seed": [10] * 2 + [2] * 2,
        }
    )
    pd.testing.assert_frame_equal(read_seeds(paths), expected)
    by_method = read_methods(paths)
    assert list(by_method) == ["gkd", "baseline"]
    pd.testing.assert_frame_equal(by_method["baseline"], expected[2:])
