"""Knowledge distillation on softened outputs (Hinton, Vinyals, Dean 2015)."""

import torch.nn.functional as F
from torch import Tensor, nn

from lgg.graph import at_least_float32


class HintonDistillation(nn.Module):
    """KL divergence from the teacher's softened class probabilities to the student's, mean over the batch.

    Both are softmax(logits / T). Hinton et al. (Section 2.1) multiply the term by T² so that its gradients keep their
    size; as every factor, T² is applied where the objective is put together.

    Raises ValueError where `temperature` T is not positive.
    """

    def __init__(self, temperature: float) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, not {temperature}")
        self.temperature = temperature

    def forward(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Return the divergence in nats, a scalar; both logits have shape (B, C), else ValueError."""
        if student_logits.shape != teacher_logits.shape:
            raise ValueError(
                f"student and teacher tell the same classes apart for the same inputs: their logits have one shape, "
                f"not {tuple(student_logits.shape)} and {tuple(teacher_logits.shape)}"
            )
        student = F.log_softmax(at_least_float32(student_logits) / self.temperature, dim=1)
        teacher = F.log_softmax(at_least_float32(teacher_logits.detach()) / self.temperature, dim=1)
        return F.kl_div(student, teacher, reduction="batchmean", log_target=True)
