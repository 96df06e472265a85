"""Figures as a person says them: bytes, durations."""


def size(number: float) -> str:
    """Bytes as a person says them."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(number) < 1000 or unit == "GB":
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return ""


def span(seconds: float) -> str:
    """A duration as a person says it."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"


def micros(number: float) -> str:
    """Microseconds as a person says them."""
    if number < 1000:
        return f"{number:.0f} µs"
    return f"{number / 1000:.1f} ms" if number < 1_000_000 else f"{number / 1e6:.2f} s"
