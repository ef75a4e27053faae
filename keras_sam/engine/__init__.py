"""One training step as a pure function of tensors. Start reading here.

**The equations.** A step on a batch, at the weights w, is

```
g = gradient of the loss at w                 clean pass
e = perturb(g, w, rho, method_state)          perturbation
h = gradient of the loss at w + e             perturbed pass
u = combine(g, h, method_state)               for the optimizer, applied at w
```

g may be of a loss of its own (`ascent_loss`), and h of the loss as it is linear
in the predictions at w (`FunctionalSAM`): `objectives` has both.

`two_passes.TwoPasses.__call__` is these four lines. The method gives `perturb`
and `combine` (`keras_sam.methods`); for SAM e = rho g / ||g|| and u = h.

**The law of parts.** A step is the mean, over the parts of its batch, of both
passes on the part. A part is a batch of its own, with its own loss as
`compute_loss` gives it, and counts with its share of the examples. The parts
are the whole batch, micro-batches one after another (`parts`), or groups of
devices side by side (`trainers.jax.device_groups`); the replicas of a strategy
of TensorFlow are parts too, averaged by the optimizer. A step on k
micro-batches is that on k replicas, for a model without state.

**Sharp or plain** is decided in `decision`: by the radius, the iteration, or a
statistic of the clean gradients. A plain step is one pass over the whole batch.

**Where a length is zero or not finite, e is zero** and the step is the plain
one. If the perturbed gradient alone is not finite, the optimizer gets zeros;
with loss scaling it gets what is not finite, and skips. The method's state is
then left as it was.

**Side effects**, which `tests/contract/` holds:

| thing | clean pass, at w | perturbed pass, at w + e |
| --- | --- | --- |
| `training` | True | True |
| normalization statistics and other state | updated once | thrown away |
| seeds of dropout and augmentation | advance once | the same draws |
| logged loss and metrics | these | only `sharpness`, L(w + e) - L(w) |
| learning rate in metrics | as after the update | - |
| regularizers, `add_loss` | at w | at w + e |
| class weights, sample weights, masks | the same | the same |
| loss scaling | scaled; unscaled before any norm | scaled |
| replicas | no communication | one all-reduce, the optimizer's own |
| clipping, decay, accumulation | not applied | the optimizer, once, to u |
| variable without a gradient | e = 0 | `None` is passed on |
| variable that its gradient overwrites (float8) | that gradient | unused |
| sparse gradient | duplicate rows summed before the norm | passed on |
| micro-batches | each updates state and seeds, in order | thrown away |
| `ascent_fraction` below 1 | the leading examples | all examples |
| the model's own variables | never written | never written |

**Files**, each of which imports only those above it:

| file | holds |
| --- | --- |
| `roles` | what a variable is for, and which ones are perturbed |
| `examples` | some of the examples of a batch |
| `scopes` | what variables read as during a pass, and what is written |
| `objectives` | what a pass differentiates |
| `loss` | a loss, its gradients and the state it leaves, in a scope |
| `gradients` | what a method sees of gradients, and what it gives back |
| `results` | what parts and steps give |
| `passes` | one pass over a part of a batch, and a step of one |
| `two_passes` | both passes over a part |
| `parts` | the mean over parts, one after another |
| `decision` | sharp or plain |
| `update` | skipped steps, and what is subtracted past the optimizer |
| `step` | one step, and what it reports |
"""
