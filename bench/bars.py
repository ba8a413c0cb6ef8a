"""What poolhead promises of its speed, as data. report.py measures each bar."""

from dataclasses import dataclass

FORWARD, BACKWARD = ("forward",), ("backward",)
EITHER = FORWARD + BACKWARD
MEGABYTE = 1_000_000

POWERS = ("GeM-1", "GeM-2", "GeM-3", "GeM-4", "Lp-1", "Lp-2", "Lp-3", "Lp-4")
ANY_POWER = ("GeM-2.7",)
EXPONENTIALS = ("LogSumExp", "SoftPool")
PYRAMIDS = ("SPP-average", "SPP-max")
ATTENTION = ("Attention-softmax", "Attention-sigmoid")
HEADS = ("four-heads",)
EVERY_POOL = ()  # stands for all


@dataclass(frozen=True)
class Bar:
    """A limit on one figure of the cases of some pools: the worst case counts.

    figure is "roof" (time over the roofline's), "speed-up" (the best rival's time over ours), "bfloat16" (its time
    over float's), "baseline" (time without -march=native over that with it) or "denormal" (time of denormal elements
    over that of usual ones). A speed-up is at least limit, or above it where the bar is strict; all else at most.
    """

    label: str
    pools: tuple
    directions: tuple
    figure: str
    limit: float
    library: str = ""  # whose best form is the rival; empty: any
    layouts: tuple = ("NCHW", "NHWC")
    large: bool = True  # the shapes of 1 MB and more, else those below
    shape: str = ""  # this one alone
    strict: bool = False

    @property
    def at_most(self):
        return self.figure != "speed-up"


BARS = (
    Bar("GAP", ("GAP",), FORWARD, "roof", 1.10),
    Bar("GAP", ("GAP",), BACKWARD, "roof", 1.20),
    Bar("GAP, any rival", ("GAP",), EITHER, "speed-up", 0.95),
    Bar("GAP, libtorch", ("GAP",), BACKWARD, "speed-up", 3.0, library="libtorch"),
    Bar("GMP with argmax", ("GMP",), FORWARD, "roof", 1.20),
    Bar("GMP with argmax", ("GMP",), BACKWARD, "roof", 1.25),
    Bar("GMP with argmax, libtorch", ("GMP",), FORWARD, "speed-up", 1.3, library="libtorch", layouts=("NHWC",)),
    Bar("GMP with argmax, libtorch", ("GMP",), FORWARD, "speed-up", 8.0, library="libtorch", layouts=("NCHW",)),
    Bar("GeM and Lp, p = 1, 2, 3, 4", POWERS, EITHER, "roof", 1.30),
    Bar("GeM and Lp, p = 1, 2, 3, 4", POWERS, EITHER, "speed-up", 4.0),
    Bar("GeM, any p", ANY_POWER, EITHER, "roof", 3.0),
    Bar("GeM, any p", ANY_POWER, EITHER, "speed-up", 12.0),
    Bar("LogSumExp, SoftPool", EXPONENTIALS, EITHER, "roof", 2.5),
    Bar("LogSumExp, SoftPool", EXPONENTIALS, EITHER, "speed-up", 5.0),
    Bar("SPP 1-2-4", PYRAMIDS, EITHER, "roof", 1.5),
    Bar("SPP 1-2-4, libtorch", PYRAMIDS, EITHER, "speed-up", 5.0, library="libtorch", layouts=("NHWC",)),
    Bar("SPP 1-2-4, libtorch", PYRAMIDS, EITHER, "speed-up", 15.0, library="libtorch", layouts=("NCHW",)),
    Bar("attention, libtorch", ATTENTION, EITHER, "speed-up", 2.0, library="libtorch"),
    Bar("four heads fused", HEADS, FORWARD, "roof", 1.6),
    Bar("four heads fused", HEADS, BACKWARD, "roof", 2.0),
    Bar("four heads fused, the four calls", HEADS, EITHER, "speed-up", 10.0, library="libtorch"),
    Bar("every pool below 1 MB", EVERY_POOL, EITHER, "speed-up", 1.0, large=False, strict=True),
    Bar("GAP, libtorch", ("GAP",), FORWARD, "speed-up", 2.0, library="libtorch", layouts=("NCHW",), large=False,
        shape="1x1280x7x7", strict=True),
    Bar("every pool, bfloat16 over float", EVERY_POOL, EITHER, "bfloat16", 0.65),
    Bar("without -march=native", EVERY_POOL, EITHER, "baseline", 4.0),
    Bar("denormal elements", EVERY_POOL, EITHER, "denormal", 2.0),
)

# Seconds that the umbrella may add to a file that includes Eigen's tensors, at -O2.
MOST_EXTRA_COMPILE_SECONDS = 1.5
