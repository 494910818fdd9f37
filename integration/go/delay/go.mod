module testbed/delay

go 1.26.0
