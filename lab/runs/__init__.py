"""Looking into what a training left: mistakes, snapshots, reports. Nothing is trained here."""
