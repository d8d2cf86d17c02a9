"""Published accuracies of CelebA's forty attributes, to stand beside ours: MCNN-AUX, DMM-CNN, SwinFace.

As the repository of SwinFace tables them, in per cent of CelebA's 19,962 test images, in CelebA's order. Their means
are 91.29, 91.70 and 91.32. Our rows of other images are not comparable to them, and the report says so.
"""

from transface.data.labels.attributes import CELEBA_NAMES

_ROWS: dict[str, tuple[float, ...]] = {
    "MCNN-AUX": (
        94.51, 83.42, 83.06, 84.92, 98.90, 96.05, 71.47, 84.53, 89.78, 96.01, 96.17, 89.15, 92.84, 95.67, 96.32,
        99.63, 97.24, 98.20, 91.55, 87.58, 98.17, 93.74, 96.88, 87.23, 96.05, 75.84, 97.05, 77.47, 93.81, 95.16,
        97.85, 92.73, 83.58, 83.91, 90.43, 99.05, 94.11, 86.63, 96.51, 88.48,
    ),
    "DMM-CNN": (
        94.84, 84.57, 83.37, 85.81, 99.03, 96.22, 72.93, 84.78, 90.50, 96.13, 96.40, 89.46, 93.01, 95.86, 96.39,
        99.69, 97.63, 98.27, 91.85, 87.73, 98.29, 94.16, 97.03, 87.73, 96.41, 75.89, 97.00, 77.19, 94.12, 95.32,
        97.91, 93.22, 84.72, 86.01, 90.78, 99.12, 94.49, 88.03, 97.15, 88.98,
    ),
    "SwinFace": (
        94.60, 83.91, 82.61, 84.24, 98.99, 96.09, 71.26, 83.98, 90.17, 95.94, 96.04, 89.11, 92.62, 95.69, 96.09,
        99.67, 97.21, 98.27, 91.41, 87.24, 98.96, 93.78, 96.91, 87.30, 96.14, 74.72, 96.85, 77.08, 93.92, 94.96,
        97.75, 93.18, 84.73, 85.57, 89.87, 99.19, 94.07, 86.72, 96.97, 89.05,
    ),
}  # fmt: skip
PUBLISHED: dict[str, dict[str, float]] = {
    method: dict(zip(CELEBA_NAMES, values, strict=True)) for method, values in _ROWS.items()
}
NUM_TEST_IMAGES = 19_962
