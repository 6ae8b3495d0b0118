"""The bundled model and its classes, and what its predictions must be like."""

from models.registry import fashion_cnn

CATEGORIES = fashion_cnn().categories
FASHION = ("--model", "fashion_cnn")


def check_predictions(predictions: list[dict], num: int) -> None:
    assert len(predictions) == num
    probabilities = [prediction["probability"] for prediction in predictions]
    assert probabilities == sorted(probabilities, reverse=True) and 0 <= probabilities[-1] <= probabilities[0] <= 1
    for prediction in predictions:
        assert set(prediction) == {"index", "category", "probability"}
        assert prediction["category"] == CATEGORIES[prediction["index"]]
