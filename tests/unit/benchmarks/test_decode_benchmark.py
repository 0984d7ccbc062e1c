from benchmarks.decode import THREADS, Cell, Run, grid_of
from flambeau.stages.image_header import ImageFormat


def test_libraries_are_listed_fastest_first_and_compared_round_by_round():
    speeds = {"pillow": (100, 50), "torchvision": (200, 75)}  # images in one second, by round
    runs = {
        Cell("JPEG", name, threads): [Run(images * threads, 1.0, 2.0) for images in rounds]
        for name, rounds in speeds.items()
        for threads in THREADS
    }
    grid = grid_of(ImageFormat.JPEG, runs)
    assert [(row[0].partition(" ")[0], row[-1]) for row in grid.rows] == [("torchvision", "1.75"), ("pillow", "1.00")]
    assert grid.rows[0][1] == "138 (75 to 200)"
