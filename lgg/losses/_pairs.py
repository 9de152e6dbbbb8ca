"""Pairing of student and teacher layers, shared by the distillation losses."""

from collections.abc import Sequence

from torch import Tensor

from lgg.graph import batch_size


def paired_layers(
    student_representations: Sequence[Tensor], teacher_representations: Sequence[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the compared layers of the student and those of the teacher, which are detached.

    Raises ValueError if there are no layers, their numbers differ, or their batches have different sizes.
    """
    if any(isinstance(given, Tensor) for given in (student_representations, teacher_representations)):
        raise ValueError("representations must be a list with one tensor per layer; put a single tensor in a list")
    if len(student_representations) != len(teacher_representations) or not student_representations:
        raise ValueError(
            "student and teacher must have the same number of representations, at least one, not "
            f"{len(student_representations)} and {len(teacher_representations)}"
        )
    for layer, (student, teacher) in enumerate(zip(student_representations, teacher_representations, strict=True)):
        sizes = batch_size(student), batch_size(teacher)
        if sizes[0] != sizes[1]:
            raise ValueError(f"layer {layer}: the student's batch has {sizes[0]} inputs, the teacher's {sizes[1]}")
        if sizes[0] != len(student_representations[0]):
            raise ValueError(
                f"layer {layer} has a batch of {sizes[0]} inputs, layer 0 of {len(student_representations[0])}; all layers "
                "must be of one batch"
            )
    return list(student_representations), [teacher.detach() for teacher in teacher_representations]
