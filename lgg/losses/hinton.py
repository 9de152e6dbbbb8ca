"""Knowledge distillation on softened outputs (Hinton, Vinyals, Dean 2015)."""

import torch.nn.functional as F
from torch import Tensor, nn

from lgg.graph import at_least_float32


class HintonDistillation(nn.Module):
    """KL divergence from the teacher's softened class probabilities to the student's, mean over the batch.

    Both are softmax(logits / T). Hinton et al. (Section 2.1) multiply this term by T² so that the scale of its gradients
    does not depend on T; like all factors of losses, T² is applied in the objective.

    Raises ValueError if `temperature` T is not positive.
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
                f"the logits of student and teacher must have the same shape, not {tuple(student_logits.shape)} and "
                f"{tuple(teacher_logits.shape)}"
            )
        student = F.log_softmax(at_least_float32(student_logits) / self.temperature, dim=1)
        teacher = F.log_softmax(at_least_float32(teacher_logits.detach()) / self.temperature, dim=1)
        return F.kl_div(student, teacher, reduction="batchmean", log_target=True)
