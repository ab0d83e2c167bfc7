"""The lab's event source mapping: what the local cloud lacks of AWS Lambda's own pollers."""
