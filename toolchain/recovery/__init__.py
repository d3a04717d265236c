"""What was lost, won back without training: layers as linear maps, their statistics, closed-form solutions."""
