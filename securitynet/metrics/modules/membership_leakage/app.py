"""The page of the Space: a form for predictions and references."""

from pathlib import Path

import evaluate
from evaluate.utils import launch_gradio_widget

launch_gradio_widget(evaluate.load(str(Path(__file__).parent / "membership_leakage.py")))
