"""Units of measure. Memory and payloads are counted in bytes, or in megabytes of ``MIB`` bytes."""

MIB = 1024 * 1024
