"""One step of a training: gradients of a batch, in parts if they are to be, and what the optimiser makes of them."""

from contextlib import nullcontext

from torch import Tensor

from models.training.metrics import RunningSums
from models.training.optimization import add_l1_gradients
from models.training.random_streams import Purpose, derive_seed, seed_generators
from models.training.setup import Prepared


def train_step(prepared: Prepared, meter: RunningSums, step: int, rate: float) -> None:
    """Trains on the batch of a step.

    Args:
        prepared: What is trained, in training mode.
        meter: Adds up losses and right answers.
        step: From 0; it alone decides what is random.
        rate: Its learning rate; each group's is a share of it.
    """
    config, accelerator, optimizer = prepared.config, prepared.accelerator, prepared.optimizer
    seed_generators(accelerator.device, derive_seed(config.seed, Purpose.FORWARD, step, accelerator.process_index))
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate_factor"]
    prepared.approach.before_step(step, prepared.total_steps)
    prepared.torch_optimizer.zero_grad()
    parts = prepared.feed.index(step).chunk(config.accumulate)
    for number, part in enumerate(parts):
        is_last = number == len(parts) - 1
        with nullcontext() if is_last else accelerator.no_sync(prepared.model):
            _add_gradients(prepared, meter, part, step, number)
    if config.clip_norm is not None:  # in half precision this takes the loss scale out of the gradients
        accelerator.clip_grad_norm_(prepared.module.parameters(), config.clip_norm)
    elif config.l1:
        accelerator.unscale_gradients(optimizer)
    if config.l1:
        add_l1_gradients(prepared.module.parameters(), config.l1)
    (optimizer if accelerator.scaler else prepared.torch_optimizer).step()


def _add_gradients(prepared: Prepared, meter: RunningSums, index: Tensor, step: int, part: int) -> None:
    accelerator, feed = prepared.accelerator, prepared.feed
    inputs, labels = feed.batch(index, step, part)
    with accelerator.autocast():
        logits = prepared.model(inputs)
    losses = prepared.loss(logits.float(), labels, prepared.config.label_smoothing)
    # Gradients are averaged over processes, whose shares of a batch may differ by a picture.
    loss = losses.sum() * (accelerator.num_processes / feed.batch_size)
    (accelerator.scaler.scale(loss) if accelerator.scaler else loss).backward()
    meter.add(losses.detach(), logits.detach(), labels, step)
