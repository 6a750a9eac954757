"""Typed budgets of the chapters of the e2e paper, by the name of the plan. Nothing here needs PyTorch."""

from typing import Annotated, Self

from annotated_types import Ge, Gt
from pydantic import StrictStr, model_validator

from saebook.common.limits import Budget, Count, Several, Share, Width
from saebook.papers.e2e.three_objectives import ThreeObjectives
from saebook.papers.e2e.variants import budgets as variants


class PrincipalDirections(ThreeObjectives):
    """The SAEs of Figure 1, and the first `directions` principal directions of what they reconstruct.

    They are those of `direction_rows` of the validation rows; what one means to the predictions is measured on the first
    `ablation_rows` of them, or on `eval_rows` if those are fewer.
    """

    directions: Width
    direction_rows: Count
    ablation_rows: Count

    @model_validator(mode="after")
    def _directions_to_compare(self) -> Self:
        if self.directions < 3:
            raise ValueError(f"directions must be at least three, to have a median, and is {self.directions}")
        if self.ablation_rows > self.direction_rows:
            raise ValueError(
                f"ablation_rows must be at most direction_rows, {self.direction_rows}, and are {self.ablation_rows}"
            )
        return self


class TrainingCost(ThreeObjectives):
    """The objectives of Figure 1, timed in `rounds` of `steps` training steps of each in turn."""

    rounds: Count
    steps: Count

    @model_validator(mode="after")
    def _rounds_to_compare(self) -> Self:
        if self.rounds < 3:
            raise ValueError(f"rounds must be at least three, to have an interval, and are {self.rounds}")
        return self


class DictionaryMap(ThreeObjectives):
    """The SAEs of Figure 1, two and two on one map that is cut into `regions`; texts are looked up in `context_rows` rows."""

    regions: Annotated[Width, Gt(1)]
    context_rows: Count


class Agreement(ThreeObjectives):
    """The SAEs of Figure 1 on sentences whose verb agrees with a subject: `items` of each template.

    `kept` are numbers of features to keep. A template is judged where the language model itself is right in a share of at
    least `least_accuracy`.
    """

    items: Count
    kept: Several[Width]
    least_accuracy: Share

    @model_validator(mode="after")
    def _better_than_guessing(self) -> Self:
        if self.least_accuracy <= 0.5:
            raise ValueError(f"least_accuracy must lie above one half, which is guessing, and is {self.least_accuracy}")
        return self


class ExplainedByLayer(variants.ByLayer):
    """The SAEs of Figure 4, of each of which `explained_elements` are explained by token patterns.

    Patterns of at most `longest` tokens come from `explain_rows` rows of training text, from the `strongest` places where an
    element fires and others `drawn` at random, and are judged on `test_rows` validation rows. People are shown `features`
    pairs of cards with `contexts` each; `ratings` is the folder of what they sent, or empty.
    """

    explained_elements: Annotated[Width, Gt(1)]
    explain_rows: Count
    test_rows: Count
    strongest: Count
    drawn: Count
    longest: Count
    features: Count
    contexts: Annotated[Count, Ge(6)]  # fewer do not show what an element is about
    ratings: StrictStr


BUDGETS: dict[str, type[Budget]] = {
    "three_objectives": ThreeObjectives,
    "principal_directions": PrincipalDirections,
    "training_cost": TrainingCost,
    "agreement": Agreement,
    "dictionary_map": DictionaryMap,
    "explained_by_layer": ExplainedByLayer,
    **variants.BUDGETS,
}
