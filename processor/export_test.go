package processor

// InitProducerID is for tests that fence a lane as its successor would.
var InitProducerID = initProducerID
