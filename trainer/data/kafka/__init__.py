"""Samples as messages of a Kafka topic: which there are, how they are written, read, decoded and checked.

confluent-kafka and fastavro are imported where a broker is talked to or Avro decoded, not before.
"""
